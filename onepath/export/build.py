"""From a recipe to its bundles: train → merge → collapse → export, each step proved before the next begins."""

from __future__ import annotations

from pathlib import Path

from onepath.contract.bundle import Bundle
from onepath.contract.errors import OnepathError, RecipeError
from onepath.contract.manifest import AbsentRule, ModalityEntry
from onepath.export.bundling import STEPS, make_bundle
from onepath.export.progress import Progress
from onepath.export.recipe import Recipe, recipe_from_file
from onepath.export.rows import RowSource, check_rows
from onepath.export.training_code import train_from_file
from onepath.export.writer import check_place
from onepath.modalities import settings_in_full, tensor_from_settings


def build(recipe_path: Path, output: Path, progress: Progress) -> list[Bundle]:
    """Return the bundles of a recipe, written to folders of `output` that are named as the recipe names them.

    Args:
        recipe_path: a recipe in YAML, with its training code beside it.
        output: the folder to write to; a bundle already there is replaced once the new one is whole.
        progress: told of every stage.

    Raises:
        RecipeError: the recipe or its code is wrong; nothing is written.
        BundleIntegrityError: where a bundle would go there is something else; nothing is trained or written.
        ParityError: a step changed the result by more than its tolerance; that bundle is not written.
        UnsupportedModuleError: a part of a model cannot be merged, collapsed or exported exactly.
    """
    recipe = recipe_from_file(recipe_path)
    assets = recipe_path.parent / "assets"
    entries = _entries(recipe, recipe_path, assets)
    for name in recipe.bundles:
        check_place(output / name)
    code = recipe_path.parent / recipe.code
    trained = train_from_file(code, recipe, progress)
    check_rows(RowSource(entries, assets, trained.rows), str(code))
    bundles = []
    for name in recipe.bundles:
        with progress.stage(f"bundle {name}", STEPS) as stage:
            bundles.append(make_bundle(name, recipe, trained, entries, assets=assets, path=output / name, stage=stage))
    return bundles


def _entries(recipe: Recipe, recipe_path: Path, assets: Path) -> list[ModalityEntry]:
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
