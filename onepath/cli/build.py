"""`onepath build`: from a recipe to bundles."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onepath.cli.exits import terminable
from onepath.cli.tables import bundle_size, examples, print_chain, print_table, size_text
from onepath.contract.errors import MissingExtraError

if TYPE_CHECKING:
    from onepath.contract.bundle import Bundle

EXAMPLES = examples(
    "onepath build export/digits/recipe.yaml",
    "onepath build my/recipe.yaml --output /data/bundles",
    "onepath build export/digits/recipe.yaml --precision int8",
)
CONTEXT: dict[str, Any] = {}  # click's settings


class Wanted(str, Enum):
    """A precision that is wanted beside float32."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"


def command(
    recipe: Annotated[Path, typer.Argument(help="The recipe, a YAML file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder to write to, a folder for each bundle.")
    ] = Path("build"),
    precision: Annotated[
        Wanted | None,
        typer.Option(help="Make a graph in this precision too, instead of those that the recipe asks for."),
    ] = None,
) -> None:
    """Make bundles from a recipe.

    Its models are trained, merged, collapsed and exported, and every step is proved. Each bundle is written only once
    all of its steps are within the recipe's tolerances and gates; one that is already there is replaced by the new one
    in a single step. A graph in another precision than float32 must pass its gate for every presence pattern, and is
    deployed only where it is measured to be faster on this machine; the float32 graph always stays in the bundle.
    """
    from onepath.cli.progress import shown_progress

    try:
        from onepath.export.build import build
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] == "onepath":  # a part of onepath itself, which no extra brings
            raise
        raise MissingExtraError(str(error.name), "export", purpose="building a bundle") from error
    with terminable(), shown_progress() as progress:
        bundles = build(recipe, output, progress, precision=precision.value if precision else None)
    for bundle in bundles:
        print_chain(bundle.manifest)
        _print_robustness(bundle)
    print_table("Bundles", ("name", "folder", "id", "graph", "size", "proofs"), [_row(bundle) for bundle in bundles])
    typer.echo(f"next: onepath deploy {bundles[0].path} --repository {output / 'model_repository'}")


def _row(bundle: Bundle) -> tuple[str, ...]:
    manifest = bundle.manifest
    others = f" (also {'; '.join(graph.precisions for graph in manifest.variants)})" if manifest.variants else ""
    graph = manifest.graph.precisions + others
    size = size_text(bundle_size(manifest))
    return manifest.name, str(bundle.path), bundle.short_id, graph, size, str(len(manifest.proofs))


def _print_robustness(bundle: Bundle) -> None:
    from onepath.contract.robustness import robustness_from_bundle, table_headings, table_rows

    report = robustness_from_bundle(bundle.path)
    if report is not None:
        title = f"{bundle.manifest.name}: with each presence pattern, {report.rows} held-out rows"
        print_table(title, table_headings(report), table_rows(report))
        for modality, why in report.encoders_left_out.items():
            typer.echo(f"{modality}: not compared with its encoder alone, since {why}")
