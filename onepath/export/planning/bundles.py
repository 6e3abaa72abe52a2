"""What the bundles of a recipe will be, as far as that is known before training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from torch import nn

from onepath.contract.presence import pattern_name, patterns
from onepath.export.bundles.assembled import merge_blocks, model_of_bundle
from onepath.export.bundles.outputs import outputs_of_graph
from onepath.export.bundles.sources import Sources, merges_behind
from onepath.export.collapse import collapse
from onepath.export.graphs.dispatch import PresenceGraph
from onepath.export.models import MadeModel
from onepath.export.recipe import Recipe
from onepath.export.recipe.bundles import BundleRecipe, EncoderBundle, FusedBundle, MergedBundle, models_of
from onepath.export.recipe.names import encoded_modality
from onepath.export.rows import RowSource
from onepath.export.trained import Trained
from onepath.merging.multimodal import MultimodalModel

UNLESS_TRAINED = "merge, unless trained further"
"""A step that a bundle's proof chain has as long as training code leaves its merges as they are."""


@dataclass(frozen=True)
class PlannedBundle:
    """A bundle.

    Attributes:
        name: of its folder.
        model: `merged`, `fused` or `encoder`.
        sources: what it takes its models from: parents and merges, or what the training code will return.
        modalities: those that a row may have; empty where only the training code knows.
        steps: of its proof chain.
        weights: for a merged model, presence pattern to the weight of each modality, with sum 1.
        parameters_before: stored numbers before the collapse; None where only training makes the model.
        parameters_after: the same after the collapse.
    """

    name: str
    model: str
    sources: tuple[str, ...]
    modalities: tuple[str, ...]
    steps: tuple[str, ...]
    weights: Mapping[str, Mapping[str, float]]
    parameters_before: int | None
    parameters_after: int | None


def planned_bundles(
    recipe: Recipe, made: Mapping[str, MadeModel], rows: RowSource, *, trains: bool
) -> tuple[PlannedBundle, ...]:
    """Return the bundles of a recipe.

    Args:
        recipe: the recipe.
        made: its parents and merges.
        rows: the recipe's modalities and its held-out rows, if they are known.
        trains: whether training code takes the parents and merges, and may train them further.

    Raises:
        RecipeError: a model cannot be run on the rows, or its scores do not fit the labels.
        UnsupportedModuleError: a model cannot be collapsed exactly, or blocks cannot be merged.
    """
    return tuple(_bundle(name, recipe, made, rows, trains) for name in recipe.bundles)


def _bundle(name: str, recipe: Recipe, made: Mapping[str, MadeModel], rows: RowSource, trains: bool) -> PlannedBundle:
    bundle = recipe.bundles[name]
    model = _model(bundle, recipe, made)
    report = None if model is None else collapse(model, also=recipe.export.also_collapse)[1]
    if model is not None and rows.rows:
        _check_outputs(name, recipe, made, rows)
    return PlannedBundle(
        name=name,
        model=bundle.model,
        sources=tuple(_named_sources(bundle, recipe, made)),
        modalities=_modalities(bundle, recipe, model),
        steps=(*_merge_step(bundle, recipe, trains), "collapse", "onnx"),
        weights=_pattern_weights(bundle, recipe) if isinstance(bundle, MergedBundle) else {},
        parameters_before=report.parameters_before if report else None,
        parameters_after=report.parameters_after if report else None,
    )


def _merge_step(bundle: BundleRecipe, recipe: Recipe, trains: bool) -> list[str]:
    if isinstance(bundle, MergedBundle):
        return ["merge"]
    behind = merges_behind([source for _, source in models_of(bundle)], recipe)
    return [UNLESS_TRAINED if trains else "merge"] if behind else []


def _check_outputs(name: str, recipe: Recipe, made: Mapping[str, MadeModel], rows: RowSource) -> None:
    model, source = model_of_bundle(name, recipe, Sources(Trained({}, rows=rows.rows), made), rows)
    outputs_of_graph(PresenceGraph(cast(MultimodalModel, model), recipe.task).eval(), source, recipe)


def _model(bundle: BundleRecipe, recipe: Recipe, made: Mapping[str, MadeModel]) -> nn.Module | None:
    """Return a bundle's model before its collapse, or None if the training code has a part in it."""
    if not all(source in made for _, source in models_of(bundle)):
        return None
    if not isinstance(bundle, MergedBundle):
        return made[bundle.source].model
    if set(bundle.blocks) != set(recipe.modalities):
        return None
    return merge_blocks({modality: made[bundle.blocks[modality]].model for modality in recipe.modalities}, bundle)


def _named_sources(bundle: BundleRecipe, recipe: Recipe, made: Mapping[str, MadeModel]) -> Iterator[str]:
    if isinstance(bundle, MergedBundle):
        blocks = [bundle.blocks.get(modality, f"trained {modality}") for modality in recipe.modalities]
        yield from dict.fromkeys(blocks)
    else:
        yield bundle.source if bundle.source in made else f"trained {bundle.source}"


def _modalities(bundle: BundleRecipe, recipe: Recipe, model: nn.Module | None) -> tuple[str, ...]:
    if isinstance(bundle, EncoderBundle):
        return (encoded_modality(bundle, recipe) or bundle.source,)
    if isinstance(bundle, FusedBundle):
        return tuple(getattr(model, "modalities", ()))
    return tuple(recipe.modalities)


def _pattern_weights(bundle: MergedBundle, recipe: Recipe) -> dict[str, dict[str, float]]:
    """Return the share of each modality in each presence pattern that a row may have."""
    required = {name for name, modality in recipe.modalities.items() if modality.absent == "required"}
    possible = [pattern for pattern in patterns(list(recipe.modalities)) if required <= set(pattern)]
    return {pattern_name(pattern): _shares(bundle, pattern) for pattern in possible}


def _shares(bundle: MergedBundle, pattern: Sequence[str]) -> dict[str, float]:
    weights = {name: bundle.weights.get(name, 1.0) for name in pattern}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}
