"""Points from NPY, the format of one numpy array, without evaluating anything that is in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from onepath.modalities.data_errors import TooManyPointsError, WrongShapeError
from onepath.modalities.errors import CorruptError, TruncatedError, WrongTypeError
from onepath.modalities.errors import shown as shown_text

_LONGEST_HEADER = 10_000
_FIELDS = {
    "descr": re.compile(r"'descr'\s*:\s*('[^']*'|\[)"),
    "fortran_order": re.compile(r"'fortran_order'\s*:\s*(True|False)"),
    "shape": re.compile(r"'shape'\s*:\s*\(([\d,\s]{0,100})\)"),
}
_NUMBERS = re.compile(r"'[<>=|]?(f2|f4|f8|[iu][1248])'")


@dataclass(frozen=True)
class _Header:
    start: int
    dtype: np.dtype[np.generic]
    order: Literal["C", "F"]
    shape: tuple[int, int]


def points_from_npy(payload: bytes, max_points: int) -> NDArray[np.float64]:
    """Return the first three columns of an array `(points, 3 or more)` of floats or integers, `(points, 3)`.

    Raises:
        PayloadError: the array has another type or shape or too many rows, or there are fewer or more bytes than its
            header says.
    """
    header = _header_from_npy(payload)
    rows, columns = header.shape
    if rows > max_points:
        raise TooManyPointsError(rows, max_points)
    given, needed = len(payload) - header.start, rows * columns * header.dtype.itemsize
    if given < needed:
        raise TruncatedError("NPY array", f"{needed - given:,} bytes of values are missing")
    if given > needed:
        raise CorruptError("NPY array", f"{given - needed:,} bytes follow its values")
    values = np.frombuffer(payload, header.dtype, rows * columns, header.start)
    return values.reshape(header.shape, order=header.order)[:, :3].astype(np.float64)


def _header_from_npy(payload: bytes) -> _Header:
    # numpy/lib/format.py: magic, version, a length of 2 or 4 bytes, and the literal of a Python dict. Evaluating the
    # literal, as numpy does, can warn on standard error; three fields are all that there is to find.
    width = {1: 2, 2: 4, 3: 4}.get(payload[6] if len(payload) > 6 else 0)
    if width is None:
        raise CorruptError("NPY array", "it has an unknown version")
    length = int.from_bytes(payload[8 : 8 + width], "little")
    start = 8 + width + length
    if length > _LONGEST_HEADER:
        raise CorruptError("NPY array", "its header is too long")
    if len(payload) < start:
        raise TruncatedError("NPY array", "its header is not whole")
    text = payload[8 + width : start].decode("latin-1")
    fields = {name: pattern.search(text) for name, pattern in _FIELDS.items()}
    if (lacking := next((name for name, found in fields.items() if found is None), None)) is not None:
        raise CorruptError("NPY array", f"its header says no {lacking} that is read here")
    descr, order, sizes = (found.group(1) for found in fields.values() if found)
    return _Header(start, _dtype_from_descr(descr), "F" if order == "True" else "C", _shape_from_text(sizes))


def _dtype_from_descr(descr: str) -> np.dtype[np.generic]:
    if not _NUMBERS.fullmatch(descr):
        found = "fields" if descr == "[" else f"the type {shown_text(descr.strip(chr(39)))}"
        raise WrongTypeError("the NPY array's type", found, "floats or integers")
    return np.dtype(descr.strip("'"))


def _shape_from_text(text: str) -> tuple[int, int]:
    sizes = [int(size) for size in text.split(",") if size.strip()]
    if len(sizes) != 2 or sizes[1] < 3:
        raise WrongShapeError(
            f"an array of shape ({shown_text(text)[1:-1]})", "an array (points, 3), or with more columns"
        )
    return sizes[0], sizes[1]
