"""From a recipe's parents and merges to models: every parent built, every merge made, proved and checked, in order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from onepath.contract.errors import OnepathError, ParityError, RecipeError
from onepath.export.made_models import MadeModel, plain_state
from onepath.export.merge_by_pathways import merge_by_pathways
from onepath.export.merge_by_weights import merge_by_weights
from onepath.export.parents import parents_from_recipe
from onepath.export.proofs import digest_from_model
from onepath.export.recipe import Recipe
from onepath.export.recipe_merges import CrossModalMerge, sources_of
from onepath.merging.weight_space import lint_state_dict

Problem = tuple[str, str]


def models_from_recipe(recipe: Recipe, path: Path) -> dict[str, MadeModel]:
    """Return the parents and merges of a recipe by name, in its order.

    Args:
        recipe: the recipe.
        path: its file; see `onepath.export.recipe_code.folder_on_path`.

    Raises:
        RecipeError: a parent cannot be built, a merge cannot be made, or the linter finds an error in the weights of
            one; every one is named.
        ParityError: a merge's weights differ from those made again.
    """
    made = {name: _parent(name, model) for name, model in parents_from_recipe(recipe, path).items()}
    problems = [problem for name in recipe.parents for problem in _faults(f"parents.{name}", made[name])]
    for name in recipe.merges if not problems else ():
        problems += _made(name, recipe, made, path.parent)
    if problems:
        raise RecipeError(str(path), problems)
    return made


def _parent(name: str, model: nn.Module) -> MadeModel:
    digest = digest_from_model(model)
    return MadeModel(model, digest, {name: digest}, findings=tuple(lint_state_dict(plain_state(model))))


def _made(name: str, recipe: Recipe, made: dict[str, MadeModel], folder: Path) -> list[Problem]:
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
    return _faults(f"merges.{name}", made[name])


def _merged(name: str, recipe: Recipe, made: Mapping[str, MadeModel], folder: Path) -> MadeModel:
    merge, tolerance = recipe.merges[name], recipe.tolerances.merge
    if isinstance(merge, CrossModalMerge):
        return merge_by_pathways(name, merge, made, folder=folder, tolerance=tolerance)
    return merge_by_weights(name, merge, made, seed=recipe.seed, tolerance=tolerance)


def _faults(place: str, made: MadeModel) -> list[Problem]:
    errors = [finding for finding in made.findings if finding.level == "error"]
    return [(f"{place}.{finding.tensor}", finding.message) for finding in errors]
