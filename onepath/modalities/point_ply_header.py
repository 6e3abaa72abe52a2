"""The header of a PLY file: which elements it has, and where the points are among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

import numpy as np

from onepath.modalities.data_errors import WrongColumnsError
from onepath.modalities.errors import CorruptError, TruncatedError, shown

AXES = ("x", "y", "z")

_LONGEST_HEADER = 1 << 16
_MOST_DIGITS = 15
_MOST_PROPERTIES = 64
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}


@dataclass(frozen=True)
class Property:
    """One number of an element, or a list of them.

    Attributes:
        name: its name.
        type: the type of the number, or of those in the list, as numpy names it.
        count: the type of the length of the list; empty for one number.
    """

    name: str
    type: str
    count: str = ""


@dataclass(frozen=True)
class Element:
    """What a file has a number of, such as points or faces.

    Attributes:
        name: its name.
        rows: how many there are.
        properties: what each consists of, in order.
    """

    name: str
    rows: int
    properties: tuple[Property, ...]

    @property
    def is_vertex(self) -> bool:
        """Whether these are the points."""
        return self.name == "vertex"

    @cached_property
    def has_lists(self) -> bool:
        """Whether rows may be of different lengths."""
        return any(each.count for each in self.properties)

    @cached_property
    def least_bytes(self) -> int:
        """The bytes of a row whose lists are empty."""
        return sum(np.dtype(each.count or each.type).itemsize for each in self.properties)

    def place(self, name: str) -> int:
        """Return which of the properties has a name."""
        return [each.name for each in self.properties].index(name)


@dataclass(frozen=True)
class Header:
    """What a PLY file says of itself.

    Attributes:
        order: the byte order, `<` or `>`; empty for text.
        before: the elements before the points.
        vertex: the points.
        after: the elements behind them.
        start: where the elements begin.
    """

    order: str
    before: tuple[Element, ...]
    vertex: Element
    after: tuple[Element, ...]
    start: int


def header_from_ply(payload: bytes) -> Header:
    """Return the header of a PLY file.

    Raises:
        PayloadError: it has no end, cannot be read, or declares no points with x, y and z.
    """
    # Only the first line's own end parts lines: a comment may hold any other byte.
    newline = b"\r" if payload[3:4] == b"\r" and payload[4:5] != b"\n" else b"\n"
    end = payload.find(newline + b"end_header", 0, _LONGEST_HEADER)
    if end < 0:
        raise TruncatedError("PLY file", "its header has no end")
    start = payload.find(newline, end + 1) + 1
    if start == 0:
        raise TruncatedError("PLY file", "nothing follows its header")
    lines = [[word.decode("latin-1") for word in line.split()] for line in payload[:end].split(newline)[1:]]
    words = [line for line in lines if line and line[0] not in ("comment", "obj_info")]
    if not words or words[0][0] != "format" or len(words[0]) != 3 or words[0][1] not in _ORDERS:
        raise CorruptError("PLY file", "its header says no format that is read here")
    elements = _elements(words[1:])
    before = tuple(takewhile(lambda element: not element.is_vertex, elements))
    return Header(
        order=_ORDERS[words[0][1]],
        before=before,
        vertex=_checked_vertex(elements[len(before) :]),
        after=elements[len(before) + 1 :],
        start=start,
    )


def _checked_vertex(elements: Sequence[Element]) -> Element:
    if not elements:
        raise WrongColumnsError("the PLY file has no element vertex", AXES)
    numbers = [each.name for each in elements[0].properties if not each.count]
    names = [each.name for each in elements[0].properties]
    for axis in AXES:
        if numbers.count(axis) != 1 or names.count(axis) != 1:
            raise WrongColumnsError(f"the element vertex of the PLY file does not have one number {axis}", AXES)
    return elements[0]


def _elements(lines: Sequence[Sequence[str]]) -> tuple[Element, ...]:
    elements: list[Element] = []
    for words in lines:
        if words[0] == "element" and len(words) == 3 and words[2].isdecimal() and len(words[2]) <= _MOST_DIGITS:
            elements.append(Element(words[1], int(words[2]), ()))
        elif words[0] == "property" and elements and (made := _property(words)):
            last = elements.pop()
            elements.append(Element(last.name, last.rows, (*last.properties, made)))
        else:
            raise CorruptError("PLY file", f"its header has the line {shown(' '.join(words))}")
    if any(len(element.properties) > _MOST_PROPERTIES for element in elements):
        raise CorruptError("PLY file", f"an element has more than {_MOST_PROPERTIES} properties")
    return tuple(elements)


def _property(words: Sequence[str]) -> Property | None:
    if len(words) == 3 and words[1] in _TYPES:
        return Property(words[2], _TYPES[words[1]])
    if len(words) == 5 and words[1] == "list" and _TYPES.get(words[2], "f")[0] != "f" and words[3] in _TYPES:
        return Property(words[4], _TYPES[words[3]], count=_TYPES[words[2]])
    return None
