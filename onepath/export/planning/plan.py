"""The plan of a recipe: everything that is known of a build before it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from onepath.export.build import entries_from_recipe
from onepath.export.bundles.sources import finite
from onepath.export.collapse.report import stored_numbers
from onepath.export.held_out_rows import rows_from_file
from onepath.export.models import models_from_recipe
from onepath.export.models.made import stored_bytes
from onepath.export.planning.bundles import PlannedBundle, planned_bundles
from onepath.export.planning.memory import PlannedMemory, planned_memory
from onepath.export.planning.merges import PlannedMerge, planned_merges
from onepath.export.recipe import Recipe, recipe_from_file
from onepath.export.recipe.code import folder_on_path
from onepath.export.rows import RowSource, check_rows
from onepath.export.training_code import check_without_parents, takes_parents


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

    The functions that build parents are run, merges are made in memory, the held-out rows of a file are decoded, and
    bundles whose models are known run one of them; training code is imported where there are parents that it may take,
    but not run, and nothing is written.

    Raises:
        RecipeError: the recipe is wrong, its parents cannot be built, or its merges cannot be made.
        ParityError: the weights of a merge differ from those made again.
        UnsupportedModuleError: a model cannot be collapsed exactly, or blocks cannot be merged.
    """
    recipe = recipe_from_file(path)
    with folder_on_path(path.parent):
        rows = _rows(recipe, path)
        trains = _trains_parents(recipe, path)
        made = models_from_recipe(recipe, path)
        bundles = planned_bundles(recipe, made, rows, trains=trains)
    return RecipePlan(
        name=recipe.name,
        task=recipe.task,
        labels=len(recipe.labels),
        seed=recipe.seed,
        code=recipe.code,
        rows=len(rows.rows) if recipe.rows else None,
        modalities=tuple(
            PlannedModality(e.name, e.kind, e.tensor.dtype, e.tensor.shape, recipe.modalities[e.name].absent)
            for e in rows.modalities
        ),
        parents=tuple(_parent(name, recipe, made[name].model) for name in recipe.parents),
        merges=planned_merges(recipe, made),
        bundles=bundles,
        memory=planned_memory(recipe, made, [(b.parameters_before, b.parameters_after) for b in bundles]),
    )


def _rows(recipe: Recipe, path: Path) -> RowSource:
    """Return the held-out rows of a recipe's file; none where training code makes them."""
    entries, assets = entries_from_recipe(recipe, path), path.parent / "assets"
    if recipe.rows is None:
        return RowSource(entries, assets, [])
    rows = RowSource(entries, assets, rows_from_file(path.parent / recipe.rows, recipe).rows)
    check_rows(rows, str(path.parent / recipe.rows))
    return rows


def _trains_parents(recipe: Recipe, path: Path) -> bool:
    """Return whether training code may change parents and merges; if it takes none, each must have another use."""
    if recipe.code is None or not recipe.parents:
        return False
    code = path.parent / recipe.code
    takes = takes_parents(code)
    if not takes:
        check_without_parents(code, recipe)
    return takes


def _parent(name: str, recipe: Recipe, model: nn.Module) -> PlannedParent:
    parent = recipe.parents[name]
    return PlannedParent(name, parent.build, parent.weights, stored_numbers(model), stored_bytes(model))
