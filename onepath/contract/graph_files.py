"""ONNX graphs, read without a library: the tensors that a graph holds, and the files outside it that it would read.

Only as much of the protobuf format is read as leads to tensors; their data are passed over. The field numbers are those
of `onnx.proto3` (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3), the wire format is that of
https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_Kind = Literal["model", "graph", "node", "attribute", "function", "training", "sparse", "tensor"]

LEADS_TO_TENSORS: dict[_Kind, dict[int, _Kind]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""Message to the fields that hold messages with tensors in them: field number to the kind of message."""

_GRAPH_OF_MODEL, _OPERATOR_OF_NODE = 7, 4
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 1, 2, 8, 9, 13, 14
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_DEEPEST = 100
_MOST_FIELDS = 5_000_000  # some ten times those of the largest models; reading as many takes 15 s
_MOST_BITS_OF_LENGTH = 31


@dataclass(frozen=True)
class GraphTensor:
    """A tensor that a graph's file holds or refers to.

    Attributes:
        name: its name; empty in most attributes.
        data_type: the number of its element type in ONNX; 1 is float32.
        shape: its shape.
        start: the position in the file of its data, if they are there as plain bytes.
        size_bytes: the length of these.
        external: what it says of its data in another file, as keys with their values: `location`, `offset`, `length`.
    """

    name: str
    data_type: int
    shape: tuple[int, ...]
    start: int
    size_bytes: int
    external: tuple[tuple[str, str], ...] = ()

    @property
    def outside(self) -> list[str]:
        """The files that it names for its data; more than one where it contradicts itself."""
        return [value for key, value in self.external if key == "location"]


@dataclass(frozen=True)
class _Field:
    number: int
    wire_type: int
    value: int  # of a varint; else the position of the first byte
    size: int

    @property
    def end(self) -> int:
        return self.value + self.size


def graph_tensors(path: Path) -> list[GraphTensor]:
    """Return every tensor of an ONNX file, those in subgraphs, functions and attributes as well.

    Raises:
        ValueError: it is not an ONNX graph, it holds more or deeper messages than any model does, or a node that would
            load a compiled engine from a file (`EPContext`).
    """
    if path.stat().st_size == 0:
        raise ValueError("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return list(_Walk(data).tensors())


def outside_files(path: Path) -> set[str]:
    """Return what an ONNX file names as files that hold its weights: for a graph of one file, nothing.

    Raises:
        ValueError: as `graph_tensors`.
    """
    return {location for tensor in graph_tensors(path) for location in tensor.outside}


class _Walk:
    """One pass over a file, with the bounds that end it."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._left = _MOST_FIELDS

    def tensors(self) -> Iterator[GraphTensor]:
        waiting: list[tuple[_Kind, int, int, int]] = [("model", 0, len(self._data), 0)]
        graphs = 0
        while waiting:
            kind, start, end, depth = waiting.pop()
            if kind == "tensor":
                yield self._tensor(start, end)
                continue
            for field in self._fields(start, end):
                self._check_operator(kind, field)
                inner = LEADS_TO_TENSORS[kind].get(field.number)
                graphs += kind == "model" and inner == "graph"
                if inner is not None:
                    waiting.append((inner, *self._message(field), depth + 1))
            if depth > _DEEPEST:
                raise ValueError("its messages are nested too deeply")
        if graphs != 1:
            raise ValueError(f"it holds {graphs} graphs instead of one")

    def _check_operator(self, kind: _Kind, field: _Field) -> None:
        if kind == "node" and field.number == _OPERATOR_OF_NODE and self._text(field) == "EPContext":
            raise ValueError("it has a node that loads a compiled engine (EPContext)")

    def _tensor(self, start: int, end: int) -> GraphTensor:
        shape: list[int] = []
        data_type, name, raw, is_outside = 0, "", (0, 0), False
        external: list[tuple[str, str]] = []
        for field in self._fields(start, end):
            if field.number == _DIMS:
                shape += self._integers(field)
            elif field.number == _DATA_TYPE:
                data_type = field.value
            elif field.number == _NAME:
                name = self._text(field)
            elif field.number == _RAW_DATA:
                raw = (field.value, field.size)
            elif field.number == _EXTERNAL_DATA:
                external += self._entries(*self._message(field))
            elif field.number == _DATA_LOCATION:
                is_outside = is_outside or field.value != 0
        tensor = GraphTensor(name, data_type, tuple(shape), *raw, tuple(external))
        if is_outside and not tensor.outside:
            raise ValueError(f"its tensor {name!r} lies outside it, in no file that it names")
        return tensor

    def _entries(self, start: int, end: int) -> list[tuple[str, str]]:
        """Return a key with its value; of keys and values that are given twice, each with each."""
        fields = list(self._fields(start, end))
        keys = [self._text(field) for field in fields if field.number == 1]
        values = [self._text(field) for field in fields if field.number == 2] or [""]
        return [(key, value) for key in keys for value in values]

    def _integers(self, field: _Field) -> list[int]:
        """Return the integers of a repeated field, packed into one value or not."""
        if field.wire_type == _VARINT:
            return [field.value]
        found, position = list[int](), field.value
        while position < field.end:
            value, position = self._varint(position, field.end)
            found.append(value)
        return found

    def _message(self, field: _Field) -> tuple[int, int]:
        if field.wire_type != _LENGTH:
            raise ValueError(f"its field {field.number} at byte {field.value} is no message")
        return field.value, field.end

    def _text(self, field: _Field) -> str:
        start, end = self._message(field)
        return self._data[start:end].decode(errors="replace")

    def _fields(self, start: int, end: int) -> Iterator[_Field]:
        position = start
        while position < end:
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"it has more than {_MOST_FIELDS} fields")
            key, position = self._varint(position, end)
            number, wire_type = key >> 3, key & 7
            if number == 0 or key >= 1 << 32:
                raise ValueError(f"at byte {position} there is no field")
            field, position = self._field(number, wire_type, position, end)
            yield field

    def _field(self, number: int, wire_type: int, position: int, end: int) -> tuple[_Field, int]:
        if wire_type == _VARINT:
            value, after = self._varint(position, end)
            return _Field(number, wire_type, value, 0), after
        if wire_type == _LENGTH:
            size, position = self._varint(position, end)
        else:
            size = _FIXED_SIZES.get(wire_type, end)
        if size >> _MOST_BITS_OF_LENGTH or size > end - position or wire_type not in (_LENGTH, *_FIXED_SIZES):
            raise ValueError(f"its field {number} at byte {position} does not fit")
        return _Field(number, wire_type, position, size), position + size

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        value, shift = 0, 0
        while position < end and shift < 70:
            byte = self._data[position]
            value |= (byte & 0x7F) << shift
            position, shift = position + 1, shift + 7
            if byte < 0x80:
                return value & (1 << 64) - 1, position
        raise ValueError(f"at byte {position} a number does not end")
