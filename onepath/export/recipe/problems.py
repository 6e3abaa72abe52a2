"""What is wrong with a recipe, with paths that its file has and in words that its writer knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from onepath.contract.nearest import did_you_mean
from onepath.export.recipe.types import fields_at, value_at

Problem = tuple[str, str]
"""Path in the recipe and what is wrong there."""
Part = int | str

_WORDS = {
    "missing": "is missing",
    "dict_type": "should be a mapping",
    "model_type": "should be a mapping",
    "model_attributes_type": "should be a mapping",
    "tuple_type": "should be a list",
    "union_tag_not_found": "is missing",
}
"""What pydantic's errors mean in YAML; its own words do for the others."""


def problems_from_error(error: ValidationError, raw: Mapping[Any, Any]) -> list[Problem]:
    """Return every problem of a recipe, once, those of one place together.

    Args:
        error: from validating it.
        raw: the recipe as it was read.
    """
    found: dict[tuple[Part, ...], list[str]] = {}
    problems: list[Problem] = []
    for entry in error.errors():
        if entry["type"] == "value_error" and not entry["loc"]:
            problems += [(path, text) for path, _, text in (line.partition(": ") for line in _lines(entry["msg"]))]
        else:
            found.setdefault(_place(entry, raw), []).append(_text(entry, raw))
    outermost = [place for place in found if any(_is_inside(other, place) for other in found)]  # says nothing more
    inner = {place: texts for place, texts in found.items() if place not in outermost}
    problems += [(".".join(map(str, place)), _joined(texts)) for place, texts in inner.items()]
    return list(dict.fromkeys(problems))


def _lines(message: str) -> list[str]:
    return message.removeprefix("Value error, ").splitlines()


def _is_inside(inner: Sequence[Part], outer: Sequence[Part]) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _joined(texts: Sequence[str]) -> str:
    """Return what each alternative of one place asks for, as one sentence."""
    first, *others = dict.fromkeys(texts)
    return " or ".join([first, *(text.removeprefix("should be ") for text in others)])


def _place(entry: Mapping[str, Any], raw: Any) -> tuple[Part, ...]:  # one of pydantic's errors; YAML
    """Return the path in the file; pydantic also names the alternative that it tried, which the file does not have."""
    parts: list[Part] = []
    for part in entry["loc"]:
        inside = value_at(raw, part)
        if inside:
            (raw,) = inside
            parts.append(part)
    if entry["type"] == "missing" or entry["loc"][-1] == "[key]":
        parts.append(entry["loc"][-1])
    if entry["type"].startswith("union_tag"):
        parts.append(entry["ctx"]["discriminator"].strip("'"))
    return tuple(parts)


def _text(entry: Mapping[str, Any], raw: Mapping[Any, Any]) -> str:  # one of pydantic's errors
    kind = entry["type"]
    if kind == "extra_forbidden":
        *outer, name = entry["loc"]
        known = fields_at(outer, raw)
        return f"is no field here{did_you_mean(str(name), known)}; known: {', '.join(known)}"
    if kind == "union_tag_invalid":
        tag, tags = entry["ctx"]["tag"], entry["ctx"]["expected_tags"]
        return f"{tag!r} is none of {tags}{did_you_mean(tag, tags.replace(chr(39), '').split(', '))}"
    if kind == "literal_error" and isinstance(entry["input"], str):
        return _plain(entry) + did_you_mean(entry["input"], entry["ctx"]["expected"].split("'"))
    return _WORDS.get(kind, _plain(entry))


def _plain(entry: Mapping[str, Any]) -> str:  # one of pydantic's errors
    return str(entry["msg"]).removeprefix("Value error, ").replace("Input should", "should")
