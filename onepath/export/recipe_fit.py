"""What training code asks of its recipe before it trains: settings it knows, and a modality as its model takes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from onepath.contract.errors import RecipeError
from onepath.contract.nearest import did_you_mean
from onepath.contract.tensors import Closed
from onepath.export.recipe import ModalityRecipe, Recipe, recipe_from_file
from onepath.merging.presets import Preset
from onepath.modalities import settings_in_full

_Settings = TypeVar("_Settings", bound=Closed)
Problem = tuple[str, str]


def settings_from_recipe(kind: type[_Settings], settings: Mapping[str, Any], *, source: object) -> _Settings:
    """Return the settings that a recipe has for its training code.

    Args:
        kind: what they should be.
        settings: as `train` gets them.
        source: the recipe, for the error.

    Raises:
        RecipeError: they are something else; every problem is listed with its path.
    """
    try:
        return kind.model_validate(dict(settings))
    except ValidationError as error:
        problems = [_problem(entry["type"], entry["loc"], entry["msg"], kind) for entry in error.errors()]
        raise RecipeError(str(source), problems) from error


def _problem(error: str, place: Sequence[int | str], message: str, kind: type[Closed]) -> Problem:
    path = ".".join(map(str, ("settings", *place)))
    if error != "extra_forbidden":
        return path, message.removeprefix("Input ")
    known = list(kind.model_fields)
    return path, f"is no setting of this training{did_you_mean(str(place[-1]), known)}; known: {', '.join(known)}"


def modality_from_recipe(path: Path, name: str) -> tuple[Recipe, ModalityRecipe]:
    """Return the recipe in a file, and one of its modalities.

    Raises:
        RecipeError: the recipe cannot be read, or has no such modality.
    """
    recipe = recipe_from_file(path)
    if name not in recipe.modalities:
        known = ", ".join(recipe.modalities)
        problem = f"there is no {name!r}, which the training code asks for; there is {known}"
        raise RecipeError(str(path), [("modalities", problem)])
    return recipe, recipe.modalities[name]


def check_recipe_fits(path: Path, modality: str, preset: Preset, *, classes: int) -> None:
    """Check that a recipe's processor makes what a preset's model takes, and that each score has a label.

    Numbers must be the preset's: of an image of another size a model sees another part, and of sounds at another rate
    other frequencies, with no error. Words, such as how an image is fitted, are free: training sees what they do.

    Args:
        path: the file of the recipe.
        modality: one of its modalities.
        preset: whose plug-in settings are the right ones.
        classes: scores of the model.

    Raises:
        RecipeError: something differs, all of it with its path, or there is no such modality.
    """
    recipe, entry = modality_from_recipe(path, modality)
    problems = [(f"modalities.{modality}.{place}", text) for place, text in _differences(modality, entry, preset)]
    if len(recipe.labels) != classes:
        problems.append(("labels", f"there are {len(recipe.labels)}, and the model gives {classes} scores"))
    if problems:
        raise RecipeError(str(path), problems)


def _differences(modality: str, entry: ModalityRecipe, preset: Preset) -> Iterator[Problem]:
    if entry.kind != preset.kind:
        yield "kind", _differs(entry.kind, preset.kind)
        return
    given, _ = settings_in_full(modality, entry.kind, entry.settings, {})
    yield from _unequal("settings", given, preset.settings)


def _unequal(place: str, given: Any, wanted: Any) -> Iterator[Problem]:  # JSON
    if isinstance(given, Mapping) and isinstance(wanted, Mapping):
        for name in wanted:
            yield from _unequal(f"{place}.{name}", given[name], wanted[name])
    elif not isinstance(wanted, str) and given != wanted:
        yield place, _differs(given, wanted)


def _differs(given: object, wanted: object) -> str:
    return f"is {given!r}, and the model takes {wanted!r}"
