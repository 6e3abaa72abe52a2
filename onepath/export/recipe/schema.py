"""The JSON Schema of recipes, for editors: from the recipe's own types, described by their docstrings."""

from __future__ import annotations

import inspect
import re
from typing import Any

from pydantic import BaseModel

from onepath.export.recipe.document import Recipe
from onepath.export.recipe.types import models_below

_ATTRIBUTE = re.compile(r"^(\w+): (.*)$")


def recipe_schema() -> dict[str, Any]:  # JSON
    """Return the JSON Schema (draft 2020-12) of `recipe.yaml`.

    Names of plug-ins are left open, since they depend on what is installed.
    """
    schema = Recipe.model_json_schema()
    types = {model.__name__: model for model in models_below(Recipe)}
    for name, described in (("Recipe", schema), *schema["$defs"].items()):
        if name in types:
            _describe(described, types[name])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:  # JSON
    summary, attributes = _docstring(model)
    schema["description"] = summary
    schema.pop("title", None)
    for name, field in schema["properties"].items():
        field.pop("title", None)
        field["description"] = attributes[name]
        if "patternProperties" in field:
            field["additionalProperties"] = False


def _docstring(model: type[BaseModel]) -> tuple[str, dict[str, str]]:
    """Return the text of a class's docstring, and that of each of its attributes."""
    text, _, listed = inspect.cleandoc(model.__doc__ or "").partition("\nAttributes:\n")
    attributes: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc(listed).splitlines():
        found = _ATTRIBUTE.match(line)
        if found:
            name = found[1]
        words = found[2] if found else line.strip()
        attributes[name] = f"{attributes[name]} {words}".strip() if name in attributes else words
    return " ".join(text.split()), attributes
