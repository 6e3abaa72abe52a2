"""Points from text: one a line, its numbers between white space, commas or semicolons."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from onepath.modalities.data_errors import TooManyPointsError, WrongShapeError
from onepath.modalities.decoding import corrupt_on_failure, text_from_utf8
from onepath.modalities.errors import CorruptError, TruncatedError

_MOST_DIGITS = 15
_MOST_COLUMNS = 64
_LONGEST_LINE = 4096
_SEPARATORS = str.maketrans(",;", "  ")


def points_from_xyz(payload: bytes, max_points: int) -> NDArray[np.float64]:
    """Return the first three numbers of every line, `(points, 3)`.

    What follows a `#` is a comment, empty lines are nothing, and a first line of one whole number says how many points
    follow. Without it, a file that was cut between two lines is a whole shorter one.

    Raises:
        PayloadError: the text is not UTF-8, has too many lines, not as many as it says, lines of fewer than three
            columns, of very many or of different lengths, or something that is no number.
    """
    lines = list(islice(_lines(text_from_utf8(payload)), max_points + 2))
    announced = int(lines.pop(0)) if lines and lines[0].isdecimal() and len(lines[0]) <= _MOST_DIGITS else None
    if max(len(lines), announced or 0) > max_points:
        raise TooManyPointsError(max(len(lines), announced or 0), max_points)
    if announced is not None and len(lines) < announced:
        raise TruncatedError("XYZ file", f"{len(lines):,} of {announced:,} points are there")
    if announced is not None and len(lines) > announced:
        raise CorruptError("XYZ file", f"it has {len(lines):,} points and says {announced:,}")
    numbers = numbers_from_lines(lines, "XYZ file")
    if lines and numbers.shape[1] < 3:
        raise WrongShapeError(f"lines of {numbers.shape[1]} columns", "lines of x, y and z, or with more columns")
    return numbers[:, :3]


def numbers_from_lines(lines: Sequence[str], what: str) -> NDArray[np.float64]:
    """Return the numbers of lines that have equally many each, `(lines, columns)`; `(0, 3)` where there are no lines.

    Raises:
        CorruptError: something is no number, or the lines have different lengths, or absurdly many numbers.
    """
    if not lines:
        return np.empty((0, 3))
    if max(map(len, lines)) > _LONGEST_LINE or len(lines[0].split()) > _MOST_COLUMNS:
        raise CorruptError(what, f"a line has more than {_MOST_COLUMNS} numbers or {_LONGEST_LINE:,} characters")
    with corrupt_on_failure(what):
        return np.loadtxt(lines, dtype=np.float64, comments=None, ndmin=2)


def _lines(text: str) -> Iterator[str]:
    bare = (line.partition("#")[0].translate(_SEPARATORS).strip() for line in io.StringIO(text, newline=None))
    return filter(None, bare)
