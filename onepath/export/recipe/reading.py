"""Reading a recipe from its file."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from onepath.contract.errors import RecipeError
from onepath.contract.yaml_files import yaml_from_file
from onepath.export.recipe.document import Recipe
from onepath.export.recipe.problems import problems_from_error


def recipe_from_file(path: Path) -> Recipe:
    """Return the recipe in a YAML file, whose files are there and whose plug-ins accept their settings.

    Args:
        path: the file.

    Raises:
        RecipeError: the file cannot be read, is not YAML, or is not a recipe; every problem is listed with its path.
        MissingExtraError: a modality needs a package that is not installed.
    """
    raw = yaml_from_file(path)
    if not isinstance(raw, dict):
        raise RecipeError(str(path), [("", "is not a mapping with name, task, modalities and bundles")])
    try:
        return Recipe.model_validate(raw, context=path.parent)
    except ValidationError as error:
        raise RecipeError(str(path), problems_from_error(error, raw)) from error
