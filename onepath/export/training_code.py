"""Running a recipe's own training code: one Python file with a function `train`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import cast

from onepath.contract.errors import OnepathError, RecipeError
from onepath.export.progress import Progress
from onepath.export.recipe import EncoderBundle, FusedBundle, MergedBundle, Recipe
from onepath.export.trained import Trained, TrainingCode


def train_from_file(path: Path, recipe: Recipe, progress: Progress) -> Trained:
    """Return what the `train` function of a Python file hands over for a recipe.

    Modules beside the file can be imported by it.

    Raises:
        RecipeError: the file has no `train`, or that raises, or it does not return all that the recipe's bundles need.
    """
    with _folder_on_path(path.parent):
        try:
            trained = _train_function(path)(recipe.settings, seed=recipe.seed, progress=progress)
        except OnepathError:
            raise
        except Exception as error:
            problem = f"raised {type(error).__name__}: {error}; run again with --debug to see where"
            raise RecipeError(str(path), [("train", problem)]) from error
    if not isinstance(trained, Trained):
        raise RecipeError(
            str(path), [("train", f"returned {type(trained).__name__}, not onepath.export.trained.Trained")]
        )
    problems = [*_missing(recipe, trained)]
    if problems:
        raise RecipeError(str(path), problems)
    return trained


def _train_function(path: Path) -> TrainingCode:
    train = getattr(_module_from_file(path), "train", None)
    if not callable(train):
        raise RecipeError(str(path), [("train", "the file has no function `train(settings, *, seed, progress)`")])
    return cast(TrainingCode, train)


def _missing(recipe: Recipe, trained: Trained) -> Iterator[tuple[str, str]]:
    for name, bundle in recipe.bundles.items():
        if isinstance(bundle, MergedBundle):
            absent = [modality for modality in recipe.modalities if modality not in trained.blocks]
            needed = ("blocks", absent)
        elif isinstance(bundle, FusedBundle):
            needed = ("fused", [bundle.source] if bundle.source not in trained.fused else [])
            model = trained.fused.get(bundle.source)
            for modality in model.modalities if model else ():
                if modality not in recipe.modalities:
                    yield f"bundles.{name}", f"fused[{bundle.source!r}] has {modality!r}, which the recipe has not"
        elif isinstance(bundle, EncoderBundle):
            needed = ("encoders", [bundle.source] if bundle.source not in trained.encoders else [])
        for part in needed[1]:
            yield f"bundles.{name}", f"the training code returned no {needed[0]}[{part!r}]"


def _module_from_file(path: Path) -> ModuleType:
    name = f"onepath_recipe_{path.parent.name}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RecipeError(str(path), [("code", "is not a Python file")])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def _folder_on_path(folder: Path) -> Iterator[None]:
    """Let modules beside the code be imported, and forget them after, so that another recipe's are not mistaken."""
    entry, before = str(folder.resolve()), set(sys.modules)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(entry):
                del sys.modules[name]
