"""How much memory the weights of a build will take at once, estimated before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onepath.export.collapse.report import stored_numbers
from onepath.export.models.made import MadeModel, stored_bytes
from onepath.export.recipe import Recipe
from onepath.export.recipe.merges import sources_of

_WIDE = 8
"""Bytes of a float64 number, in which merges are made and collapses are proved."""
_SINGLE = 4


@dataclass(frozen=True)
class PlannedMemory:
    """An estimate of weights alone, without activations, Python, and what training code holds.

    Attributes:
        models_bytes: parents and merges, which are held to the end.
        merge_bytes: the most that making one merge holds besides, its sources in float64 and the result twice.
        bundle_bytes: the most that proving one bundle holds besides, the model in float64 before and after its
            collapse, and in float32 as a model, as a file and as a graph; of bundles whose model is known.
        peak_bytes: the models and the larger of the two.
    """

    models_bytes: int
    merge_bytes: int
    bundle_bytes: int
    peak_bytes: int


def planned_memory(
    recipe: Recipe, made: Mapping[str, MadeModel], bundles: Sequence[tuple[int | None, int | None]]
) -> PlannedMemory:
    """Return how much memory the weights will take.

    Args:
        recipe: the recipe.
        made: its parents and merges.
        bundles: numbers stored by each bundle's model before and after the collapse, None where unknown.
    """
    models = sum(stored_bytes(each.model) for each in made.values())
    merging = max((_merging(name, recipe, made) for name in recipe.merges), default=0)
    proving = max((_proving(before, after) for before, after in bundles if before and after), default=0)
    return PlannedMemory(models, merging, proving, models + max(merging, proving))


def _merging(name: str, recipe: Recipe, made: Mapping[str, MadeModel]) -> int:
    sources = {source for _, source in sources_of(recipe.merges[name])}
    return _WIDE * (
        sum(stored_numbers(made[source].model) for source in sources) + 2 * stored_numbers(made[name].model)
    )


def _proving(before: int, after: int) -> int:
    return _WIDE * (before + after) + _SINGLE * (before + 3 * after)
