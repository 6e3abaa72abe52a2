"""`onepath plan`: what a recipe will do, before it is done."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onepath.cli.tables import examples, print_table, size_text
from onepath.contract.errors import MissingExtraError

if TYPE_CHECKING:
    from onepath.export.planning import RecipePlan
    from onepath.export.planning.bundles import PlannedBundle
    from onepath.export.planning.merges import PlannedMerge

EXAMPLES = examples("onepath plan export/digits/recipe.yaml", "onepath plan --schema > recipe.schema.json")
CONTEXT: dict[str, Any] = {}  # click's settings
_PATTERNS_SHOWN = 15
"""Every pattern of four modalities; of more, `--json` has them all."""
_BLOCKS_SHOWN = 24
_FIGURE = re.compile(r"\d+(\.\d+)?(e[-+]\d+)?")


def command(
    recipe: Annotated[Path | None, typer.Argument(help="The recipe, a YAML file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of recipes, for editors, and nothing else.")
    ] = False,
) -> None:
    """Show what a recipe will do, without training or writing anything.

    The Python functions beside the recipe that build its parents are run, and its merges are made in memory, so that
    all that can be wrong with them is told; bundles whose models are known run one held-out row. Training code is
    imported, if there are parents, but not run.
    """
    if (recipe is None) != schema:
        raise typer.BadParameter("give a recipe, or --schema alone")
    try:
        from onepath.export.planning import plan_from_file
        from onepath.export.recipe.schema import recipe_schema
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] == "onepath":  # a part of onepath itself, which no extra brings
            raise
        raise MissingExtraError(str(error.name), "export", purpose="planning a bundle") from error
    if recipe is None:
        typer.echo(json.dumps(recipe_schema(), indent=2, ensure_ascii=False))
        return
    plan = plan_from_file(recipe)
    if as_json:
        typer.echo(json.dumps(plan.as_json(), ensure_ascii=False))
    else:
        _print_plan(plan)


def _print_plan(plan: RecipePlan) -> None:
    about = [plan.task, *([f"{plan.labels} labels"] if plan.labels else []), f"seed {plan.seed}"]
    typer.echo(f"{plan.name}: {', '.join(about)}; {_origin(plan)}\n")
    headings = ("modality", "kind", "tensor of a row", "absent")
    rows = [(m.name, m.kind, f"{m.dtype} {_shape(m.shape)}", m.absent) for m in plan.modalities]
    print_table("Modalities", headings, rows)
    if plan.parents:
        parents = [
            (p.name, p.build, p.weights or "as built", f"{p.parameters:,}", size_text(p.size_bytes))
            for p in plan.parents
        ]
        print_table("Parents", ("parent", "built by", "weights", "parameters", "size"), parents)
    for merge in plan.merges:
        _print_merge(merge)
    _print_bundles(plan)
    _print_memory(plan)


def _print_memory(plan: RecipePlan) -> None:
    memory = plan.memory
    if memory.peak_bytes:
        parts = f"models {size_text(memory.models_bytes)}, a merge {size_text(memory.merge_bytes)}, a bundle's proofs "
        besides = "; training code holds more" if plan.code else ""
        size = size_text(memory.peak_bytes)
        typer.echo(f"weights in memory at once: about {size} ({parts}{size_text(memory.bundle_bytes)}){besides}")
    typer.echo("nothing was trained or written")


def _origin(plan: RecipePlan) -> str:
    return f"{plan.rows} held-out rows" if plan.rows is not None else f"training code {plan.code}"


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _print_merge(merge: PlannedMerge) -> None:
    title = f"Merge {merge.name}: {merge.method} of {', '.join(merge.sources)}"
    if merge.pairs:
        pairs = [
            (
                *(p.target_weight, f"{p.auxiliary}: {p.auxiliary_weight}", _shape(p.shape)),
                *(str(p.count), _blocks(p.blocks), _scales(p.scales)),
            )
            for p in merge.pairs
        ]
        print_table(title, ("weight", "+= λ ·", "shape", "pairs", "blocks", "λ"), pairs)
    else:
        tensors = [
            (
                c.method,
                " ".join(f"{name} {_number(value)}" for name, value in c.coefficients.items()),
                *(str(c.count), c.first),
                "" if c.largest_change is None else f"{c.largest_change:.3g}",
            )
            for c in merge.coefficients
        ]
        print_table(title, ("method", "coefficients", "tensors", "first", "largest ‖Δ‖/‖W‖"), tensors)
    _print_warnings(merge.warnings)


def _print_warnings(warnings: Sequence[str]) -> None:
    """Print the first of the warnings that differ in their tensor and figures alone, and how many there are."""
    alike: dict[str, list[str]] = {}
    for warning in warnings:
        alike.setdefault(_FIGURE.sub("", warning.partition(": ")[2]), []).append(warning)
    for first, *others in alike.values():
        more = f" (and {len(others)} more like it; --json has all of them)" if others else ""
        typer.echo(f"  warning: {first}{more}")
    if warnings:
        typer.echo()


def _blocks(blocks: Sequence[tuple[int, int]]) -> str:
    """Return which block of the target gets which of the auxiliary, the first ones of many.

    >>> _blocks([(0, 0), (1, 1)]), _blocks([(0, 0), (1, 0), (2, 1)])
    ('each its own', '0←0 1←0 2←1')
    """
    if all(target == auxiliary for target, auxiliary in blocks):
        return "each its own" if blocks else ""
    shown = " ".join(f"{target}←{auxiliary}" for target, auxiliary in blocks[:_BLOCKS_SHOWN])
    return f"{shown} …" if len(blocks) > _BLOCKS_SHOWN else shown


def _scales(scales: tuple[float, float]) -> str:
    low, high = scales
    if low == high:
        return "0, to be trained" if low == 0 else _number(low)
    return f"{_number(low)} … {_number(high)}"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _print_bundles(plan: RecipePlan) -> None:
    rows = [
        (
            *(bundle.name, bundle.model, ", ".join(bundle.sources), " → ".join(bundle.steps)),
            _sizes(bundle),
        )
        for bundle in plan.bundles
    ]
    print_table("Bundles", ("bundle", "model", "from", "steps", "parameters"), rows)
    for bundle in plan.bundles:
        if bundle.weights:
            headings = ("present", *bundle.modalities)
            print_table(f"{bundle.name}: weight of each modality", headings, list(_pattern_rows(bundle)))


def _sizes(bundle: PlannedBundle) -> str:
    if bundle.parameters_before is None or bundle.parameters_after is None:
        return "known after training"
    return f"{bundle.parameters_before:,} → {bundle.parameters_after:,}"


def _pattern_rows(bundle: PlannedBundle) -> Iterator[tuple[str, ...]]:
    for pattern, weights in list(bundle.weights.items())[:_PATTERNS_SHOWN]:
        yield (pattern, *(_number(weights[name]) if name in weights else "" for name in bundle.modalities))
    if len(bundle.weights) > _PATTERNS_SHOWN:
        yield (f"and {len(bundle.weights) - _PATTERNS_SHOWN} more", *("" for _ in bundle.modalities))
