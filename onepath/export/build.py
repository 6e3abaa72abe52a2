"""From a recipe to its bundles: train → merge → collapse → export, each step proved before the next begins."""

from __future__ import annotations

from pathlib import Path

from onepath.contract.bundle import Bundle
from onepath.contract.errors import OnepathError, RecipeError
from onepath.contract.graphs import Precision
from onepath.contract.manifest import AbsentRule, ModalityEntry
from onepath.contract.writing import check_place
from onepath.export.bundles.bundling import STEPS, make_bundle
from onepath.export.bundles.sources import Sources
from onepath.export.held_out_rows import rows_from_file
from onepath.export.models import MadeModel, models_from_recipe
from onepath.export.progress import Progress
from onepath.export.recipe import Recipe, recipe_from_file
from onepath.export.recipe.code import folder_on_path
from onepath.export.recipe.gate_problems import gates_problems
from onepath.export.rows import RowSource, check_rows
from onepath.export.training_code import train_from_file
from onepath.modalities import settings_in_full, tensor_from_settings


def build(recipe_path: Path, output: Path, progress: Progress, *, precision: Precision | None = None) -> list[Bundle]:
    """Return the bundles of a recipe, written to folders of `output` that are named as the recipe names them.

    Args:
        recipe_path: a recipe in YAML, with its code and files beside it.
        output: the folder to write to; a bundle already there is replaced once the new one is whole.
        progress: told of every stage.
        precision: what graphs are wanted in beside float32, instead of what the recipe wants.

    Raises:
        RecipeError: the recipe or its code is wrong; what is found before the first bundle is made leaves nothing
            written, and labels that do not fit a bundle's scores leave the bundles before it.
        BundleIntegrityError: where a bundle would go there is something else; nothing is trained or written.
        ParityError: a step changed the result by more than its tolerance; that bundle is not written.
        GateError: a bundle is not as good with some presence pattern as the recipe asks; it is not written.
        UnsupportedModuleError: a part of a model cannot be merged, collapsed or exported exactly.
    """
    recipe = recipe_from_file(recipe_path)
    if precision is not None:
        recipe = recipe.model_copy(update={"export": recipe.export.model_copy(update={"precision": precision})})
    entries = entries_from_recipe(recipe, recipe_path)
    for name in recipe.bundles:
        check_place(output / name)
    with folder_on_path(recipe_path.parent):
        sources = _sources(recipe, recipe_path, progress)
        _check_gates_can_be_measured(recipe, recipe_path, sources)
        rows = RowSource(entries, recipe_path.parent / "assets", sources.trained.rows)
        check_rows(rows, str(recipe_path.parent / _origin(recipe)))
        bundles = []
        for name in recipe.bundles:
            with progress.stage(f"bundle {name}", STEPS) as stage:
                bundles.append(make_bundle(name, recipe, sources, rows, path=output / name, stage=stage))
    return bundles


def _sources(recipe: Recipe, path: Path, progress: Progress) -> Sources:
    origin = path.parent / _origin(recipe)
    read = rows_from_file(origin, recipe) if recipe.code is None else None  # what is wrong with a file is told first
    made: dict[str, MadeModel] = {}
    if recipe.parents:
        with progress.stage("parents and merges", 1) as stage:
            made = models_from_recipe(recipe, path)
            stage.advance()
    if read is not None:
        return Sources(read, made)
    parents = {name: each.model for name, each in made.items()}
    return Sources(train_from_file(origin, recipe, progress, parents=parents), made)


def _check_gates_can_be_measured(recipe: Recipe, path: Path, sources: Sources) -> None:
    """Check what is known of the gates only once the models are there: fused models' modalities, and targets."""
    models = {**{name: made.model for name, made in sources.made.items()}, **sources.trained.fused}
    fused = {name: tuple(getattr(model, "modalities", recipe.modalities)) for name, model in models.items()}
    problems = gates_problems(recipe.gates, recipe, fused=fused, has_targets=bool(sources.trained.targets))
    if problems:
        raise RecipeError(str(path), problems)


def _origin(recipe: Recipe) -> str:
    """Return the file that the held-out rows come from; a recipe names one of the two."""
    return recipe.code or recipe.rows or ""


def entries_from_recipe(recipe: Recipe, recipe_path: Path) -> list[ModalityEntry]:
    """Return the modalities of a recipe, with their settings in full and the tensors that they make.

    Raises:
        RecipeError: a plug-in does not accept its settings; every one is named.
    """
    assets = recipe_path.parent / "assets"
    entries, problems = [], []
    for name, modality in recipe.modalities.items():
        try:
            settings, limits = settings_in_full(name, modality.kind, modality.settings, modality.limits)
            tensor = tensor_from_settings(name, modality.kind, settings, limits, assets / name)
            rule: AbsentRule = "required" if modality.absent == "required" else "remerge"
            fixed = modality.model_dump() | {"settings": settings, "limits": limits, "absent": rule}
            entries.append(ModalityEntry(name=name, tensor=tensor, **fixed))
        except OnepathError as error:
            problems.append((f"modalities.{name}", str(error)))
    if problems:
        raise RecipeError(str(recipe_path), problems)
    return entries
