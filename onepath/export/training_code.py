"""Running a recipe's own training code: one Python file with a function `train`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from torch import nn

from onepath.contract.errors import RecipeError
from onepath.export.progress import Progress
from onepath.export.recipe import Recipe
from onepath.export.recipe.bundles import EncoderBundle, FusedBundle, MergedBundle
from onepath.export.recipe.code import folder_on_path, module_from_file, run_code
from onepath.export.recipe.names import problems_without_training
from onepath.export.trained import Trained

_SIGNATURE = "(settings, *, seed, progress)"


def train_from_file(
    path: Path, recipe: Recipe, progress: Progress, *, parents: Mapping[str, nn.Module] | None = None
) -> Trained:
    """Return what the `train` function of a Python file hands over for a recipe.

    Modules beside the file can be imported by it.

    Args:
        path: the file.
        recipe: the recipe.
        progress: told of every stage.
        parents: the recipe's parents and merges, for a function that has a parameter of this name; it may train them
            in place.

    Raises:
        RecipeError: the file has no `train`, or that raises, or it does not return all that the recipe's bundles need.
    """
    with folder_on_path(path.parent):
        trained = run_code(lambda: _trained(path, recipe, progress, parents or {}), source=str(path), place="train")
    if not isinstance(trained, Trained):
        raise RecipeError(
            str(path), [("train", f"returned {type(trained).__name__}, not onepath.export.trained.Trained")]
        )
    problems = [*_missing(recipe, trained)]
    if problems:
        raise RecipeError(str(path), problems)
    return trained


def takes_parents(path: Path) -> bool:
    """Return whether the `train` function of a Python file has a parameter `parents`.

    Raises:
        RecipeError: the file cannot be run, or has no such function.
    """
    with folder_on_path(path.parent):
        train = run_code(lambda: _train_function(path), source=str(path), place="train")
        return "parents" in inspect.signature(train).parameters


def _trained(path: Path, recipe: Recipe, progress: Progress, parents: Mapping[str, nn.Module]) -> Any:  # to be checked
    train = _train_function(path)
    if "parents" not in inspect.signature(train).parameters:
        check_without_parents(path, recipe)
        return train(recipe.settings, seed=recipe.seed, progress=progress)
    return train(recipe.settings, seed=recipe.seed, progress=progress, parents=parents)


def check_without_parents(path: Path, recipe: Recipe) -> None:
    """Check that each parent and merge has a use, where the training code takes none of them.

    Raises:
        RecipeError: naming those that are used by nothing, or that nobody trains.
    """
    problems = [
        (name, f"{problem}, or give the function `train` of {path.name} a parameter `parents`")
        for name, problem in problems_without_training(recipe)
    ]
    if problems:
        raise RecipeError(str(path), problems)


def _train_function(path: Path) -> Callable[..., Any]:  # a `TrainingCode`, whose result is checked
    train = getattr(module_from_file(path), "train", None)
    if not callable(train):
        raise RecipeError(str(path), [("train", f"the file has no function `train{_SIGNATURE}`")])
    signature = inspect.signature(train)
    given = dict.fromkeys(["seed", "progress", *(["parents"] if "parents" in signature.parameters else [])])
    try:
        signature.bind({}, **given)
    except TypeError as error:
        problem = f"cannot be called as `train{_SIGNATURE}`, or with `parents` too: {error}"
        raise RecipeError(str(path), [("train", problem)]) from error
    return cast(Callable[..., Any], train)


def _missing(recipe: Recipe, trained: Trained) -> Iterator[tuple[str, str]]:
    for name, bundle in recipe.bundles.items():
        if isinstance(bundle, MergedBundle):
            own = [modality for modality in recipe.modalities if modality not in bundle.blocks]
            needed = ("blocks", [modality for modality in own if modality not in trained.blocks])
        elif isinstance(bundle, FusedBundle):
            lacks = bundle.source not in recipe.models and bundle.source not in trained.fused
            needed = ("fused", [bundle.source] if lacks else [])
            yield from _foreign_modalities(name, bundle, recipe, trained)
        elif isinstance(bundle, EncoderBundle):
            lacks = bundle.source not in recipe.models and bundle.source not in trained.encoders
            needed = ("encoders", [bundle.source] if lacks else [])
        for part in needed[1]:
            yield f"bundles.{name}", f"the training code returned no {needed[0]}[{part!r}]"


def _foreign_modalities(name: str, bundle: FusedBundle, recipe: Recipe, trained: Trained) -> Iterator[tuple[str, str]]:
    model = None if bundle.source in recipe.models else trained.fused.get(bundle.source)
    for modality in model.modalities if model else ():
        if modality not in recipe.modalities:
            yield f"bundles.{name}", f"fused[{bundle.source!r}] has {modality!r}, which the recipe has not"
