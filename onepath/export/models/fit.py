"""Whether parents and merges are of the kind that the bundles of a recipe take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn

from onepath.export.recipe import Recipe
from onepath.export.recipe.bundles import FusedBundle, MergedBundle, models_of
from onepath.merging.lego import LegoBlock

_FUSED = ("modalities", "encoders", "absent", "fuse")
"""What a model of several modalities has; see `onepath.merging.multimodal`."""


def misfits(recipe: Recipe, models: Mapping[str, nn.Module]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the parents and merges that bundles name, each with its path in the recipe.

    Args:
        recipe: the recipe.
        models: those that could be made, by name.
    """
    for name, bundle in recipe.bundles.items():
        for place, source in models_of(bundle):
            if source not in models:
                continue
            if isinstance(bundle, MergedBundle):
                problem = block_misfit(models[source])
            elif isinstance(bundle, FusedBundle):
                problem = fused_misfit(models[source], recipe)
            else:
                problem = _encoder_misfit(models[source])
            if problem:
                yield f"bundles.{name}.{place}", f"{source!r} {problem}"


def block_misfit(model: object) -> str:
    """Return why a model cannot be merged as a block; nothing if it can."""
    return "" if isinstance(model, LegoBlock) else f"is a {_kind(model)}; wrap its encoder in a LegoBlock"


def fused_misfit(model: object, recipe: Recipe) -> str:
    """Return why a model cannot be a recipe's fused one; nothing if it can."""
    lacks = [part for part in _FUSED if not hasattr(model, part)]
    if lacks:
        return f"is a {_kind(model)}, which has no {lacks[0]!r}; see onepath.merging.multimodal"
    foreign = [modality for modality in getattr(model, "modalities", ()) if modality not in recipe.modalities]
    return f"has the modality {foreign[0]!r}, which the recipe has not" if foreign else ""


def _encoder_misfit(model: object) -> str:
    fused = all(hasattr(model, part) for part in _FUSED)
    return f"is a {_kind(model)}, of several modalities; say `model: fused`" if fused else ""


def _kind(model: object) -> str:
    return type(model).__name__
