"""From Arrow columns to payloads: bytes, paths, strings, structs and lists, by the column's type and the modality."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from decimal import Decimal
from typing import Any

from onepath.contract.errors import ScoringError
from onepath.scoring.media import MediaFolder
from onepath.scoring.payloads import Payload

Array = Any  # pyarrow has no types
DataType = Any  # pyarrow has no types
Reader = Callable[[Array, Executor], list[Payload]]
"""From a column, and threads to read files in, to one payload a row."""

_LITERAL_KINDS = ("text", "tabular")  # a string is the value itself, and for other kinds the path of a file


def reader_from_type(kind: str, dtype: DataType, *, column: str, folder: MediaFolder) -> Reader:
    """Return the function that turns a column into payloads; null and empty are absent.

    Args:
        kind: the modality's plug-in.
        dtype: the column's `pyarrow.DataType`.
        column: its name, for the error.
        folder: where paths lead.

    Raises:
        ScoringError: no payload can come from such a column.
    """
    import pyarrow.types as pt

    if pt.is_dictionary(dtype):
        inner = reader_from_type(kind, dtype.value_type, column=column, folder=folder)
        return lambda array, pool: inner(array.dictionary_decode(), pool)
    if pt.is_null(dtype):
        return lambda array, pool: [b""] * len(array)
    if is_binary(dtype):
        return lambda array, pool: [value or b"" for value in array.to_pylist()]
    if _is_string(dtype):
        return _texts if kind in _LITERAL_KINDS else lambda array, pool: list(pool.map(folder.read, array.to_pylist()))
    if kind == "tabular" and (pt.is_struct(dtype) or pt.is_map(dtype) or _is_list(dtype)):
        return _json_values
    if kind not in _LITERAL_KINDS and is_media_struct(dtype):
        return lambda array, pool: list(pool.map(lambda value: _media(value, folder), array.to_pylist()))
    raise ScoringError(
        f"the column {column!r} holds {dtype}, which is no {kind}; give {_expected(kind)}, "
        "or name another column with --column",
        column=column,
    )


def is_binary(dtype: DataType) -> bool:
    """Return whether a type holds bytes."""
    import pyarrow.types as pt

    checks = (pt.is_binary, pt.is_large_binary, pt.is_fixed_size_binary, pt.is_binary_view)
    return any(check(dtype) for check in checks)


def is_media_struct(dtype: DataType) -> bool:
    """Return whether a type is a struct of `bytes` and `path`, as data sets of images and sounds often have."""
    import pyarrow.types as pt

    return bool(pt.is_struct(dtype)) and {field.name for field in dtype} == {"bytes", "path"}


def holds_media_bytes(kind: str, dtype: DataType) -> bool:
    """Return whether a modality's column holds media themselves, which an output need not repeat."""
    return kind not in _LITERAL_KINDS and (is_binary(dtype) or is_media_struct(dtype))


def _is_string(dtype: DataType) -> bool:
    import pyarrow.types as pt

    return any(check(dtype) for check in (pt.is_string, pt.is_large_string, pt.is_string_view))


def _is_list(dtype: DataType) -> bool:
    import pyarrow.types as pt

    return any(check(dtype) for check in (pt.is_list, pt.is_large_list, pt.is_fixed_size_list))


def _expected(kind: str) -> str:
    if kind == "text":
        return "strings"
    return "a struct, a list or JSON strings" if kind == "tabular" else "bytes, or strings that are paths"


def _texts(array: Array, pool: Executor) -> list[Payload]:
    return [(value or "").encode() for value in array.to_pylist()]


def _media(value: Mapping[str, Any] | None, folder: MediaFolder) -> Payload:
    if not value:
        return b""
    return value["bytes"] or folder.read(value["path"])


def _json_values(array: Array, pool: Executor) -> list[Payload]:
    return [b"" if value is None else _json(value) for value in array.to_pylist()]


def _json(value: Any) -> bytes:  # value: whatever a nested Arrow value becomes in Python
    return json.dumps(_plain(value), ensure_ascii=False, default=_number_or_text).encode()


def _number_or_text(value: object) -> float | str:
    return float(value) if isinstance(value, Decimal) else str(value)


def _plain(value: Any) -> Any:  # value: whatever a nested Arrow value becomes in Python
    """Return a value that JSON can hold; NaN, which it cannot, is a missing cell."""
    if isinstance(value, Mapping):
        return {name: _plain(cell) for name, cell in value.items()}
    if isinstance(value, list):
        pairs = all(isinstance(cell, tuple) for cell in value) and value  # a map is a list of pairs
        return dict(_plain_pairs(value)) if pairs else [_plain(cell) for cell in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _plain_pairs(pairs: list[tuple[Any, Any]]) -> Iterator[tuple[str, Any]]:
    return ((str(name), _plain(cell)) for name, cell in pairs)
