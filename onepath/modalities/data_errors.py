"""The ways in which text, rows of tables and lists of points can fail, one class and one code each."""

from __future__ import annotations

from collections.abc import Sequence

from onepath.contract.errors import PayloadError
from onepath.modalities.errors import shown


class NotUtf8Error(PayloadError):
    """Text that is not UTF-8."""

    code = "not_utf8"

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(
            f"the payload is not UTF-8 (byte {position}: {reason}); encode the text as UTF-8",
            position=position,
            reason=reason,
        )


class NulCharacterError(PayloadError):
    """Text with a NUL character, as UTF-16 or binary data have."""

    code = "nul_character"

    def __init__(self, position: int) -> None:
        super().__init__(
            f"the text holds a NUL at character {position}; send text as UTF-8, without binary data", position=position
        )


class TooManyCharactersError(PayloadError):
    """Text with more characters than the limit."""

    code = "too_many_characters"

    def __init__(self, characters: int, limit: int) -> None:
        super().__init__(
            f"the text has {characters:,} characters and limits.max_characters is {limit:,}; shorten it",
            characters=characters,
            limit=limit,
        )


class NotJsonError(PayloadError):
    """A table row that is not JSON."""

    code = "not_json"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the payload is not JSON ({reason}); send an object or an array of numbers", reason=reason)


class WrongColumnsError(PayloadError):
    """A row with a column that the model does not have, or another number of cells."""

    code = "wrong_columns"

    def __init__(self, problem: str, columns: Sequence[str]) -> None:
        known = ", ".join(columns[:8]) + (f" and {len(columns) - 8} more" if len(columns) > 8 else "")
        super().__init__(f"{problem}; the columns are {known}", problem=problem)


class DuplicateColumnError(PayloadError):
    """A row that gives one column twice."""

    code = "duplicate_column"

    def __init__(self, column: str) -> None:
        super().__init__(f"the column {shown(column)} is given more than once; send it once", column=column)


class TooFewPointsError(PayloadError):
    """A point cloud with fewer points than the limit."""

    code = "too_few_points"

    def __init__(self, points: int, limit: int) -> None:
        super().__init__(
            f"the point cloud has {points:,} points and limits.min_points is {limit:,}; "
            "send more, or an empty element where the modality is absent",
            points=points,
            limit=limit,
        )


class TooManyPointsError(PayloadError):
    """A point cloud with more points than the limit."""

    code = "too_many_points"

    def __init__(self, points: int, limit: int) -> None:
        super().__init__(
            f"the point cloud has {points:,} points or more and limits.max_points is {limit:,}; "
            "thin it out before sending",
            points=points,
            limit=limit,
        )


class WrongShapeError(PayloadError):
    """An array that is no list of points."""

    code = "wrong_shape"

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(f"the payload holds {found}; send {wanted}", found=found)
