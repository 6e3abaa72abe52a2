"""The parents of a recipe: built by functions beside it, with the weights that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from onepath.contract.digests import sha256_from_bytes
from onepath.contract.errors import OnepathError, RecipeError, UnsupportedModuleError
from onepath.export.models.checkpoints import load_weights
from onepath.export.recipe import Recipe
from onepath.export.recipe.code import module_from_file, run_code
from onepath.export.recipe.merges import ParentRecipe


def parents_from_recipe(recipe: Recipe, path: Path) -> dict[str, nn.Module]:
    """Return the parents of a recipe by name, in eval mode, equal for equal seeds.

    Args:
        recipe: the recipe.
        path: its file; see `onepath.export.recipe.code.folder_on_path`.

    Raises:
        RecipeError: parents cannot be built or their weights do not fit; every one is named.
    """
    parents: dict[str, nn.Module] = {}
    problems: list[tuple[str, str]] = []
    for name, parent in recipe.parents.items():
        try:
            model = _built(name, parent, path.parent, recipe.seed)
        except OnepathError as error:
            problems.append((f"parents.{name}.build", _reason(error)))
            continue
        try:
            if parent.weights is not None:
                load_weights(model, path.parent / parent.weights)
        except OnepathError as error:
            problems.append((f"parents.{name}.weights", _reason(error)))
        parents[name] = model.eval()
    if problems:
        raise RecipeError(str(path), problems)
    return parents


def _built(name: str, parent: ParentRecipe, folder: Path, seed: int) -> nn.Module:
    file, _, function = parent.build.partition(":")

    def call() -> Any:  # whatever the function returns; checked below
        build = getattr(module_from_file(folder / file), function, None)
        if not callable(build):
            raise UnsupportedModuleError(parent.build, "the file has no such function", "name one that it has")
        return build(dict(parent.settings))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_seed(seed, name))
        model = run_code(call, source=str(folder / file), place=function)
    if not isinstance(model, nn.Module):
        raise UnsupportedModuleError(
            parent.build, f"it returned {type(model).__name__}, not a torch.nn.Module", "return the model"
        )
    return model


def _seed(seed: int, name: str) -> int:
    """Return a seed of the parent's own, so that two parents of one builder differ."""
    return int(sha256_from_bytes(f"{seed} {name}".encode())[:8], 16)


def _reason(error: OnepathError) -> str:
    """Return what an error says, without the heading of a list of one problem."""
    problems = getattr(error, "problems", ())
    return "; ".join(problem for _, problem in problems) if problems else str(error)
