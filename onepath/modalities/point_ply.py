"""Points from PLY, the polygon file format (Turk, 1994): text, or binary in either byte order."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from onepath.modalities.data_errors import TooManyPointsError
from onepath.modalities.errors import CorruptError, OutOfRangeError, TruncatedError, shown
from onepath.modalities.point_ply_header import AXES, Element, Header, Property, header_from_ply
from onepath.modalities.point_text import numbers_from_lines

_STEPS_OF_A_POINT = 16
"""Properties that are walked through, for each of the most points that a file may have."""

Rows = NDArray[np.float64]
"""`(rows, 3)`."""
_Step = tuple[struct.Struct, int, int]
"""How a number is read; the bytes of one item if it is the length of a list, or 0; which axis it is, or -1."""


def points_from_ply(payload: bytes, max_points: int) -> Rows:
    """Return x, y and z of the elements `vertex`, `(points, 3)`; everything else in the file is skipped.

    Raises:
        PayloadError: the header cannot be read or declares no points with x, y and z, or too many; or the file ends
            before the elements do, or has more lists than can be walked through in a short time.
    """
    header = header_from_ply(payload)
    if header.vertex.rows > max_points:
        raise TooManyPointsError(header.vertex.rows, max_points)
    _check_walk(header, max_points)
    if header.order:
        return _points_from_binary(payload, header)
    return _points_from_text(payload[header.start :], header)


def _check_walk(header: Header, max_points: int) -> None:
    # Where an element has lists, each of its properties has to be looked at to find the next; in text, that is a line.
    walked = [each for each in (*header.before, header.vertex) if each.has_lists]
    steps = sum(each.rows * len(each.properties) for each in walked)
    if steps > _STEPS_OF_A_POINT * max_points:
        where = "the number of properties, up to the last point, of elements with lists"
        raise OutOfRangeError(where, steps, "put the element vertex first, without lists")


def _points_from_text(body: bytes, header: Header) -> Rows:
    lines = (line for line in io.StringIO(body.decode("latin-1"), newline=None) if line.strip())
    before, after = (sum(each.rows for each in part if each.properties) for part in (header.before, header.after))
    found = sum(1 for _ in islice(lines, before))
    rows = list(islice(lines, header.vertex.rows))
    found += len(rows) + sum(1 for _ in lines)
    needed = before + header.vertex.rows + after
    if found < needed:
        raise TruncatedError("PLY file", f"{found:,} of {needed:,} lines of elements are there")
    if header.vertex.has_lists:
        return np.array([_row_from_words(row.split(), header.vertex) for row in rows]).reshape(-1, 3)
    numbers = numbers_from_lines(rows, "PLY file")
    if rows and numbers.shape[1] != len(header.vertex.properties):
        raise CorruptError("PLY file", f"a line has {numbers.shape[1]} numbers, not {len(header.vertex.properties)}")
    return numbers[:, [header.vertex.place(axis) for axis in AXES]] if rows else numbers


def _row_from_words(words: Sequence[str], element: Element) -> list[float]:
    found, position = {}, 0
    for each in element.properties:
        if each.count:
            position += 1 + _length(int(words[position]))
        else:
            found[each.name] = float(words[position])
            position += 1
    return [found[axis] for axis in AXES]


def _points_from_binary(payload: bytes, header: Header) -> Rows:
    position = header.start
    for element in header.before:
        position = _rows_from_binary(payload, position, element, header.order)[1]
    points, position = _rows_from_binary(payload, position, header.vertex, header.order)
    missing = position + sum(each.rows * each.least_bytes for each in header.after) - len(payload)
    if missing > 0:
        raise TruncatedError("PLY file", f"{missing:,} bytes of elements are missing")
    return points


def _rows_from_binary(payload: bytes, start: int, element: Element, order: str) -> tuple[Rows, int]:
    """Return x, y and z of an element's rows, zeros where it has none, and the position after them."""
    if element.has_lists:
        return _walked_rows(payload, start, element, order)
    end = start + element.rows * element.least_bytes
    if end > len(payload):
        raise TruncatedError("PLY file", f"{end - len(payload):,} bytes of elements are missing")
    points = np.zeros((element.rows if element.is_vertex else 0, 3))
    if element.is_vertex:
        fields = np.dtype([(str(place), order + each.type) for place, each in enumerate(element.properties)])
        rows = np.frombuffer(payload, fields, element.rows, start)
        for column, axis in enumerate(AXES):
            points[:, column] = rows[str(element.place(axis))]
    return points, end


def _walked_rows(payload: bytes, start: int, element: Element, order: str) -> tuple[Rows, int]:
    points, position = np.zeros((element.rows, 3)), start
    steps = [_step(each, order) for each in element.properties]
    try:
        for row in range(element.rows):
            position = _walked_row(payload, position, steps, points[row])
    except struct.error as error:
        raise TruncatedError("PLY file", f"a row of {shown(element.name)} is not whole") from error
    if position > len(payload):
        raise TruncatedError("PLY file", f"the last list of {shown(element.name)} is not whole")
    return points, position


def _walked_row(payload: bytes, position: int, steps: Sequence[_Step], point: Rows) -> int:
    for number, item_bytes, axis in steps:
        (value,) = number.unpack_from(payload, position)
        position += number.size
        if item_bytes:
            position += _length(value) * item_bytes
        elif axis >= 0:
            point[axis] = value
    return position


def _step(each: Property, order: str) -> _Step:
    number = struct.Struct(order + np.dtype(each.count or each.type).char)
    return number, np.dtype(each.type).itemsize if each.count else 0, AXES.index(each.name) if each.name in AXES else -1


def _length(number: int) -> int:
    if number < 0:
        raise CorruptError("PLY file", "a list has a negative length")
    return number
