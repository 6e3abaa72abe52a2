"""From a recipe's parents and merges to models: every parent built, every merge made, proved and checked, in order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from onepath.contract.errors import OnepathError, ParityError, RecipeError
from onepath.export.models.by_pathways import merge_by_pathways
from onepath.export.models.by_weights import merge_by_weights
from onepath.export.models.fit import misfits
from onepath.export.models.made import MadeModel, looked_over
from onepath.export.models.parents import parents_from_recipe
from onepath.export.proofs import digest_from_model
from onepath.export.recipe import Recipe
from onepath.export.recipe.merges import CrossModalMerge, sources_of

Problem = tuple[str, str]


def models_from_recipe(recipe: Recipe, path: Path) -> dict[str, MadeModel]:
    """Return the parents and merges of a recipe by name, in its order.

    Args:
        recipe: the recipe.
        path: its file; see `onepath.export.recipe.code.folder_on_path`.

    Raises:
        RecipeError: a parent cannot be built, a merge cannot be made, the linter finds an error in the weights of one,
            or one is not of the kind that a bundle takes; every one is named.
        ParityError: a merge's weights differ from those made again.
    """
    made: dict[str, MadeModel] = {}
    problems: list[Problem] = []
    for name, model in parents_from_recipe(recipe, path).items():
        problems += _parent(name, model, made)
    for name in recipe.merges if not problems else ():
        problems += _merge(name, recipe, made, path.parent)
    problems += misfits(recipe, {name: each.model for name, each in made.items()})
    if problems:
        raise RecipeError(str(path), problems)
    return made


def _parent(name: str, model: nn.Module, made: dict[str, MadeModel]) -> list[Problem]:
    """Look over one parent; return what is wrong with it."""
    try:
        findings = looked_over(name, model, reference={})
    except RecipeError as error:
        return [(f"parents.{name}.{place}", problem) for place, problem in error.problems]
    digest = digest_from_model(model)
    made[name] = MadeModel(model, digest, {name: digest}, findings=findings)
    return []


def _merge(name: str, recipe: Recipe, made: dict[str, MadeModel], folder: Path) -> list[Problem]:
    """Make one merge, unless one that it is made of could not be; return what is wrong with it."""
    if not all(source in made for _, source in sources_of(recipe.merges[name])):
        return []
    try:
        made[name] = _merged(name, recipe, made, folder)
    except ParityError:
        raise
    except RecipeError as error:
        return [(f"merges.{name}.{place}", problem) for place, problem in error.problems]
    except OnepathError as error:
        return [(f"merges.{name}", str(error))]
    return []


def _merged(name: str, recipe: Recipe, made: Mapping[str, MadeModel], folder: Path) -> MadeModel:
    merge, tolerance = recipe.merges[name], recipe.tolerances.merge
    if isinstance(merge, CrossModalMerge):
        return merge_by_pathways(name, merge, made, folder=folder, tolerance=tolerance)
    return merge_by_weights(name, merge, made, seed=recipe.seed, tolerance=tolerance)
