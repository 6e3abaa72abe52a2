"""The types that a recipe is made of, and which of them stands where."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from onepath.export.recipe.document import Recipe

Models = list[type[BaseModel]]


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:  # a type, or what typing makes of several
    """Yield the models that a field's type names."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from models_in(part)


def models_below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield a model and every model in its fields."""
    yield model
    for field in model.model_fields.values():
        for inner in models_in(field.annotation):
            yield from models_below(inner)


def value_at(raw: Any, part: int | str) -> list[Any]:  # YAML
    """Return the value of a mapping's key or a list's index, in a list that is empty where there is none."""
    here = (isinstance(raw, dict) and part in raw) or (isinstance(raw, list) and part in range(len(raw)))
    return [raw[part]] if here else []


def fields_at(location: Sequence[int | str], raw: Any) -> list[str]:  # YAML
    """Return the fields that a mapping in a recipe may have.

    Args:
        location: the mapping's, as pydantic's errors have it.
        raw: the recipe as it was read.
    """
    models: Models = [Recipe]
    for part in location:
        raw = next(iter(value_at(raw, part)), raw)
        named = [model.model_fields[str(part)].annotation for model in models if part in model.model_fields]
        models = [inner for annotation in named for inner in models_in(annotation)] or _meant(models, raw)
    return list(dict.fromkeys(name for model in models for name in model.model_fields))


def _meant(models: Models, raw: Any) -> Models:  # YAML
    """Return those of some alternatives whose fixed words, such as `model: merged`, a mapping has."""
    if not isinstance(raw, dict):
        return models
    meant = [model for model in models if any(raw.get(name) in words for name, words in _fixed(model))]
    return meant or [model for model in models if not any(name in raw for name, _ in _fixed(model))]


def _fixed(model: type[BaseModel]) -> Iterator[tuple[str, tuple[Any, ...]]]:  # a literal's words
    for name, field in model.model_fields.items():
        if field.is_required() and get_origin(field.annotation) is Literal:
            yield name, get_args(field.annotation)
