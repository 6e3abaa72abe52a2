"""Weights in safetensors, read without a library: what the header says, checked against the file, and no code."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from onepath.contract.strict_json import json_from_bytes
from onepath.contract.tensors import Closed

_LARGEST_HEADER_BYTES = 32 << 20  # the format allows 100 MB, of which JSON of nothing but brackets takes gigabytes
_METADATA = "__metadata__"
_BITS = {
    **{"BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16},
    **{"I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64},
}


class _Entry(Closed):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


_METADATA_TYPE = TypeAdapter(dict[str, str])


@dataclass(frozen=True)
class WeightTensor:
    """Where one tensor lies in a file of weights.

    Attributes:
        name: its name in the state dict.
        dtype: its element type, by safetensors' name, such as `F32`.
        shape: its shape.
        start: the position of its first byte in the file.
        size_bytes: its length.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size_bytes: int


def weight_tensors(path: Path) -> list[WeightTensor]:
    """Return the tensors of a safetensors file in the order of their bytes.

    Raises:
        ValueError: it is no such file: the header is not JSON of the format, or the tensors do not fill the rest of the
            file one after the other.
    """
    header, length, size = _header(path)
    tensors = sorted(_tensors(header, 8 + length), key=lambda tensor: (tensor.start, tensor.size_bytes))
    position = 8 + length
    for tensor in tensors:
        if tensor.start != position:
            raise ValueError(f"the tensor {tensor.name} does not begin where the one before it ends")
        position += tensor.size_bytes
    if position != size:
        raise ValueError(f"its tensors end at byte {position}, and the file at byte {size}")
    return tensors


def weight_metadata(path: Path) -> dict[str, str]:
    """Return what a safetensors file says beside its tensors; nothing where it says nothing.

    Raises:
        ValueError: it is no such file.
    """
    header, _, _ = _header(path)
    try:
        return _METADATA_TYPE.validate_python(header.get(_METADATA, {}), strict=True)
    except (ValidationError, AttributeError) as error:
        raise ValueError(f"its metadata is not text ({' '.join(str(error).split())[:200]})") from error


def _header(path: Path) -> tuple[Any, int, int]:  # JSON, and the sizes of the header and of the file in bytes
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _LARGEST_HEADER_BYTES):
            raise ValueError("it does not begin with the length of a header")
        return json_from_bytes(file.read(length)), length, size


def _tensors(header: Any, start: int) -> list[WeightTensor]:  # header: JSON
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    try:
        _METADATA_TYPE.validate_python(header.pop(_METADATA, {}), strict=True)
        entries = {name: _Entry.model_validate(entry) for name, entry in header.items()}
    except ValidationError as error:
        raise ValueError(f"its header is not that of tensors ({' '.join(str(error).split())[:200]})") from error
    return [_tensor(name, entry, start) for name, entry in entries.items()]


def _tensor(name: str, entry: _Entry, start: int) -> WeightTensor:
    begin, end = entry.data_offsets
    if entry.dtype not in _BITS or any(size < 0 for size in entry.shape):
        raise ValueError(f"the tensor {name} is of type {entry.dtype} and shape {list(entry.shape)}")
    if not 0 <= begin <= end or 8 * (end - begin) != math.prod(entry.shape) * _BITS[entry.dtype]:
        raise ValueError(f"the tensor {name} has {end - begin} bytes, which do not fit its shape {list(entry.shape)}")
    return WeightTensor(name=name, dtype=entry.dtype, shape=entry.shape, start=start + begin, size_bytes=end - begin)
