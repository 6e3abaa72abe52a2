"""What the merges of a recipe will do, in as few lines as say it: pairs of layers, and coefficients of tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from onepath.export.models.made import MadeModel
from onepath.export.recipe import Recipe
from onepath.export.recipe.merges import CrossModalMerge, sources_of
from onepath.merging.reparameterization.weights import block_index, block_template


@dataclass(frozen=True)
class PlannedPairs:
    """Pairs of layers that differ only in their block.

    Attributes:
        auxiliary: the auxiliary model.
        target_weight: path in the target, `{i}` standing for the block.
        auxiliary_weight: path in the auxiliary.
        count: how many there are.
        blocks: the target's block and the auxiliary's of each, where the paths have them, once.
        shape: of what is added.
        scales: smallest and largest λ; 0 until training code trains it.
    """

    auxiliary: str
    target_weight: str
    auxiliary_weight: str
    count: int
    blocks: tuple[tuple[int, int], ...]
    shape: tuple[int, ...]
    scales: tuple[float, float]


@dataclass(frozen=True)
class PlannedCoefficients:
    """Tensors that are merged alike.

    Attributes:
        method: of these tensors, or `keep:<model>`.
        coefficients: the effective one of each model; of its difference from the base, where the method merges
            differences.
        count: how many tensors there are.
        first: the first one's name.
        largest_change: the largest ‖ΔW‖/‖W‖ against the base, or the first model; None where all of them were zero.
    """

    method: str
    coefficients: Mapping[str, float]
    count: int
    first: str
    largest_change: float | None


@dataclass(frozen=True)
class PlannedMerge:
    """A merge.

    Attributes:
        name: the recipe's.
        method: `cross_modal`, or a plug-in.
        sources: the models that it is made of.
        pairs: of a cross-modal merge.
        coefficients: of a merge of weights.
        warnings: of the linter.
    """

    name: str
    method: str
    sources: tuple[str, ...]
    pairs: tuple[PlannedPairs, ...] = ()
    coefficients: tuple[PlannedCoefficients, ...] = ()
    warnings: tuple[str, ...] = field(default=())


def planned_merges(recipe: Recipe, made: Mapping[str, MadeModel]) -> tuple[PlannedMerge, ...]:
    """Return what each merge of a recipe does, from the merges as they were made."""
    return tuple(_planned(name, recipe, made[name]) for name in recipe.merges)


def _planned(name: str, recipe: Recipe, made: MadeModel) -> PlannedMerge:
    merge, cross = recipe.merges[name], isinstance(recipe.merges[name], CrossModalMerge)
    return PlannedMerge(
        name=name,
        method=merge.method,
        sources=tuple(dict.fromkeys(source for _, source in sources_of(merge))),
        pairs=tuple(_pairs(made.report)) if cross else (),
        coefficients=() if cross else tuple(_coefficients(made.report["tensors"])),
        warnings=tuple(f"{finding.tensor}: {finding.message}" for finding in made.findings),
    )


def _pairs(report: Mapping[str, Any]) -> Iterator[PlannedPairs]:  # JSON
    """Yield the pairs of layers of each auxiliary, those alike but for their block as one."""
    for auxiliary in report["auxiliaries"]:
        groups: dict[tuple[str, str, tuple[int, ...]], list[Mapping[str, Any]]] = {}
        for pair in auxiliary["plan"]["pairs"]:
            key = block_template(_left(pair)), block_template(_right(pair)), tuple(pair["shape"])
            groups.setdefault(key, []).append(pair)
        for (target, other, shape), pairs in groups.items():
            scales = _scales([pair["target"] for pair in pairs], auxiliary["scales"])
            blocks = tuple(dict.fromkeys(_blocks(pairs)))
            yield PlannedPairs(auxiliary["model"], target, other, len(pairs), blocks, shape, scales)


def _blocks(pairs: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, int]]:  # JSON
    for pair in pairs:
        target, auxiliary = block_index(str(pair["target"])), block_index(str(pair["auxiliary"]))
        if target is not None and auxiliary is not None:
            yield target, auxiliary


def _left(pair: Mapping[str, Any]) -> str:  # JSON
    return str(pair["target"]) + _rows(pair.get("target_rows"))


def _right(pair: Mapping[str, Any]) -> str:  # JSON
    return str(pair["auxiliary"]) + _rows(pair.get("auxiliary_rows")) + ("ᵀ" if pair.get("transposed") else "")


def _rows(rows: Sequence[int] | None) -> str:
    return f"[{rows[0]}:{rows[1]}]" if rows else ""


def _scales(weights: Iterable[str], known: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    """Return the smallest and the largest λ of layers; a bias has that of its layer's weight."""
    layers = {weight.rpartition(".")[0] for weight in weights}
    values = [value for path, found in known.items() if path.rpartition(".")[0] in layers for value in found]
    return (min(values), max(values)) if values else (0.0, 0.0)


def _coefficients(tensors: Iterable[Mapping[str, Any]]) -> Iterator[PlannedCoefficients]:  # JSON
    groups: dict[tuple[str, tuple[tuple[str, float], ...]], list[Mapping[str, Any]]] = {}
    for tensor in tensors:
        groups.setdefault((tensor["method"], tuple(tensor["coefficients"].items())), []).append(tensor)
    for (method, coefficients), members in groups.items():
        changes = [member["relative_change"] for member in members if member["relative_change"] is not None]
        first = str(members[0]["name"])
        yield PlannedCoefficients(method, dict(coefficients), len(members), first, max(changes, default=None))
