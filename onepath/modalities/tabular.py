"""Table rows: a JSON object or array of numbers to standardised float32 cells, any of them missing."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, field_validator

from onepath.contract.dtypes import DType
from onepath.contract.tensors import Closed
from onepath.modalities.data_errors import DuplicateColumnError, NotJsonError, WrongColumnsError
from onepath.modalities.decoding import check_size, text_from_utf8
from onepath.modalities.errors import NotFiniteError, OutOfRangeError, WrongTypeError, shown

_FLOAT32_MAX = float(np.finfo(np.float32).max)


class Column(Closed):
    """One column: its name, and the mean and scale that its cells are standardised with."""

    name: str = Field(min_length=1)
    mean: FiniteFloat = 0.0
    scale: FiniteFloat = Field(default=1.0, gt=0)


class TabularSettings(Closed):
    """What the model fixed.

    Attributes:
        columns: in the model's order.
        missing_indicator: append one 0 or 1 per column, 1 where the cell is missing.
    """

    columns: tuple[Column, ...] = Field(min_length=1)
    missing_indicator: bool = False

    @field_validator("columns")
    @classmethod
    def _names_are_unique(cls, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        if twice := _first_repeated(column.name for column in columns):
            raise ValueError(f"the column {twice!r} is declared twice")
        return columns


class TabularLimits(Closed):
    """What a payload may cost."""

    max_bytes: int = Field(default=1 << 16, gt=0)


class TabularProcessor:
    """Turns a JSON object `{column: number or null}`, or an array in column order, into one row of cells.

    A cell becomes `(value - mean) / scale`. A missing cell (null, or no such key) becomes 0, which is the mean.
    """

    settings_type: ClassVar[type[TabularSettings]] = TabularSettings
    limits_type: ClassVar[type[TabularLimits]] = TabularLimits

    def __init__(self, settings: TabularSettings, limits: TabularLimits, assets: Path) -> None:
        """Prepare to decode; table rows need no files."""
        del assets
        self._settings = settings
        self._limits = limits
        self._names = tuple(column.name for column in settings.columns)

    @property
    def dtype(self) -> DType:
        """Always float32."""
        return "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        """`(columns,)`, or `(2 * columns,)` with the missing indicators after the values."""
        return (len(self._names) * (2 if self._settings.missing_indicator else 1),)

    def decode(self, payload: bytes) -> NDArray[np.generic]:
        """Return one row, float32 `(columns,)` or `(2 * columns,)`.

        Raises:
            PayloadError: the payload is empty, too large, not UTF-8 or not JSON; has an unknown or a duplicate column,
                or a cell that is no number, not finite, or too large for float32.
        """
        check_size(payload, self._limits.max_bytes)
        cells = self._cells(_value_from_json(text_from_utf8(payload)))
        columns = self._settings.columns
        row = [_standardised(cell, column) for cell, column in zip(cells, columns, strict=True)]
        if self._settings.missing_indicator:
            row += [float(cell is None) for cell in cells]
        return np.array(row, dtype=np.float32)

    def _cells(self, value: Any) -> list[Any]:  # JSON values, checked cell by cell
        if isinstance(value, dict):
            if unknown := sorted(value.keys() - set(self._names)):
                raise WrongColumnsError(f"the model has no column {shown(unknown[0])}", self._names)
            return [value.get(name) for name in self._names]
        if not isinstance(value, list):
            raise WrongTypeError("the payload", _described(value), "a JSON object or array")
        if len(value) != len(self._names):
            raise WrongColumnsError(f"the array has {len(value)} cells, not {len(self._names)}", self._names)
        return value


def _standardised(cell: Any, column: Column) -> float:  # a JSON value
    if cell is None:
        return 0.0
    where = f"the cell of column {shown(column.name)}"
    if isinstance(cell, bool) or not isinstance(cell, float):
        raise WrongTypeError(where, _described(cell), "a number, or null where it is missing")
    if not math.isfinite(cell):
        raise OutOfRangeError(where, cell, "send a number that float64 can hold")
    value = (cell - column.mean) / column.scale
    if abs(value) > _FLOAT32_MAX:
        raise OutOfRangeError(where, cell, "after standardisation it does not fit into float32")
    return value


def _value_from_json(text: str) -> Any:  # JSON can hold anything
    try:
        # Integers become floats at once: Python's own would take quadratic time for long ones.
        return json.loads(text, parse_int=float, parse_constant=_refuse_constant, object_pairs_hook=_object_from_pairs)
    except RecursionError as error:
        raise NotJsonError("it is nested too deeply") from error
    except ValueError as error:
        raise NotJsonError(str(error)) from error


def _refuse_constant(literal: str) -> NoReturn:
    raise NotFiniteError(f"the literal {literal}", "send finite numbers, and null for a missing cell")


def _object_from_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:  # JSON values
    made = dict(pairs)
    if len(made) < len(pairs):
        raise DuplicateColumnError(_first_repeated(name for name, _ in pairs) or "")
    return made


def _first_repeated(names: Iterable[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _described(value: Any) -> str:  # a JSON value
    words = {bool: "a boolean", str: "a string", list: "an array", dict: "an object", type(None): "null"}
    return words.get(type(value), "a number")
