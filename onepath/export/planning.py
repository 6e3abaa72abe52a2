"""What a recipe will do, found out without training or writing anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from onepath.contract.presence import pattern_name, patterns
from onepath.export.assemble import merge_blocks
from onepath.export.build import entries_from_recipe
from onepath.export.collapse import collapse
from onepath.export.collapse.report import stored_numbers
from onepath.export.held_out_rows import rows_from_file
from onepath.export.made_models import MadeModel, stored_bytes
from onepath.export.merges import models_from_recipe
from onepath.export.planned_memory import PlannedMemory, planned_memory
from onepath.export.planned_merges import PlannedMerge, planned_merges
from onepath.export.recipe import Recipe, recipe_from_file
from onepath.export.recipe_bundles import BundleRecipe, EncoderBundle, FusedBundle, MergedBundle, models_of
from onepath.export.recipe_code import folder_on_path
from onepath.export.recipe_names import encoded_modality
from onepath.export.rows import RowSource, check_rows
from onepath.export.sources import finite, merges_behind
from onepath.export.trained import Trained
from onepath.export.training_code import check_all_used, takes_parents


@dataclass(frozen=True)
class PlannedModality:
    """A modality: its name, kind, and the tensor that its processor makes of a row."""

    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    absent: str


@dataclass(frozen=True)
class PlannedParent:
    """A parent as it was built: `parameters` counts stored numbers, tied ones once."""

    name: str
    build: str
    weights: str | None
    parameters: int
    size_bytes: int


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


@dataclass(frozen=True)
class RecipePlan:
    """Everything that is known of a build before it.

    Attributes:
        name: the recipe's.
        task: the recipe's.
        labels: how many.
        seed: the recipe's.
        code: the training code, None without one.
        rows: how many held-out rows there are; None where the training code makes them.
        modalities: in the order of the presence columns.
        parents: in the recipe's order.
        merges: in the recipe's order.
        bundles: in the recipe's order.
        memory: an estimate of the weights held at once.
    """

    name: str
    task: str
    labels: int
    seed: int
    code: str | None
    rows: int | None
    modalities: tuple[PlannedModality, ...]
    parents: tuple[PlannedParent, ...]
    merges: tuple[PlannedMerge, ...]
    bundles: tuple[PlannedBundle, ...]
    memory: PlannedMemory

    def as_json(self) -> dict[str, Any]:  # JSON
        """Return the plan as JSON data."""
        return dict(finite(asdict(self)))


def plan_from_file(path: Path) -> RecipePlan:
    """Return what `onepath build` would do with a recipe.

    The functions that build parents are run, merges are made in memory, and the held-out rows of a file are decoded;
    training code is imported but not run, and nothing is written.

    Raises:
        RecipeError: the recipe is wrong, its parents cannot be built, or its merges cannot be made.
        ParityError: the weights of a merge differ from those made again.
    """
    recipe = recipe_from_file(path)
    entries = entries_from_recipe(recipe, path)
    with folder_on_path(path.parent):
        made = models_from_recipe(recipe, path)
        if recipe.code is not None and recipe.parents and not takes_parents(path.parent / recipe.code):
            check_all_used(path.parent / recipe.code, recipe)
        trained = _held_out(recipe, path)
        if trained is not None:
            check_rows(RowSource(entries, path.parent / "assets", trained.rows), str(path.parent / str(recipe.rows)))
        bundles = tuple(_bundle(name, bundle, recipe, made) for name, bundle in recipe.bundles.items())
    return RecipePlan(
        name=recipe.name,
        task=recipe.task,
        labels=len(recipe.labels),
        seed=recipe.seed,
        code=recipe.code,
        rows=None if trained is None else len(trained.rows),
        modalities=tuple(
            PlannedModality(e.name, e.kind, e.tensor.dtype, e.tensor.shape, recipe.modalities[e.name].absent)
            for e in entries
        ),
        parents=tuple(_parent(name, recipe, made[name].model) for name in recipe.parents),
        merges=planned_merges(recipe, made),
        bundles=bundles,
        memory=planned_memory(recipe, made, [(b.parameters_before, b.parameters_after) for b in bundles]),
    )


def _held_out(recipe: Recipe, path: Path) -> Trained | None:
    return None if recipe.rows is None else rows_from_file(path.parent / recipe.rows, recipe)


def _parent(name: str, recipe: Recipe, model: nn.Module) -> PlannedParent:
    parent = recipe.parents[name]
    return PlannedParent(name, parent.build, parent.weights, stored_numbers(model), stored_bytes(model))


def _bundle(name: str, bundle: BundleRecipe, recipe: Recipe, made: Mapping[str, MadeModel]) -> PlannedBundle:
    model = _model(bundle, recipe, made)
    report = None if model is None else collapse(model)[1]
    known = [source for _, source in models_of(bundle) if source in made]
    merged = isinstance(bundle, MergedBundle) or bool(merges_behind(known, recipe))
    return PlannedBundle(
        name=name,
        model=bundle.model,
        sources=tuple(_named_sources(bundle, recipe, made)),
        modalities=_modalities(bundle, recipe, model),
        steps=(*(["merge"] if merged else []), "collapse", "onnx"),
        weights=_pattern_weights(bundle, recipe) if isinstance(bundle, MergedBundle) else {},
        parameters_before=report.parameters_before if report else None,
        parameters_after=report.parameters_after if report else None,
    )


def _model(bundle: BundleRecipe, recipe: Recipe, made: Mapping[str, MadeModel]) -> nn.Module | None:
    """Return a bundle's model before its collapse, or None if the training code has a part in it."""
    if not all(source in made for _, source in models_of(bundle)):
        return None
    if not isinstance(bundle, MergedBundle):
        return made[bundle.source].model
    blocks = {
        modality: made[bundle.blocks[modality]].model for modality in recipe.modalities if modality in bundle.blocks
    }
    return merge_blocks(blocks, bundle) if len(blocks) == len(recipe.modalities) else None


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
