"""JSON that every parser reads alike: what two readers could take for different values is refused."""

from __future__ import annotations

import json
import math
from typing import Any


def json_from_bytes(data: bytes) -> Any:  # whatever the text says
    """Return the value of JSON text.

    >>> json_from_bytes(b'{"a": [1, 2.5, null]}')
    {'a': [1, 2.5, None]}

    Raises:
        ValueError: it is not JSON in UTF-8 without a mark in front, an object has a key twice, a number is not finite,
            or it is nested too deeply to be read.
    """
    try:
        return json.loads(
            data.decode(), object_pairs_hook=_object, parse_float=_finite_float, parse_constant=_finite_float
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:  # values of JSON
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is there twice in one object")
        found[key] = value
    return found


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text} is not finite")
    return value
