"""What a table row becomes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from onepath.modalities.setup_errors import SettingsError
from tests.modalities.media_files import processor

COLUMNS = [{"name": "age", "mean": 40.0, "scale": 10.0}, {"name": "weight", "mean": 70.0, "scale": 20.0}]


def cells(row, **settings):
    return processor("tabular", {"columns": COLUMNS, **settings}).decode(json.dumps(row).encode()).tolist()


def test_a_cell_is_standardised_by_its_columns_mean_and_scale():
    assert cells({"age": 55, "weight": 50.0}) == [1.5, -1.0]


def test_the_order_of_an_object_does_not_matter():
    assert cells({"weight": 50, "age": 55}) == cells({"age": 55, "weight": 50})


def test_an_array_is_in_column_order():
    assert cells([55, 50]) == [1.5, -1.0]
    assert cells([50, 55]) != [1.5, -1.0]


@pytest.mark.parametrize("row", [{"weight": 90}, {"age": None, "weight": 90}, [None, 90]])
def test_a_missing_cell_is_the_mean(row):
    assert cells(row) == cells([40, 90]) == [0.0, 1.0]


def test_the_indicator_tells_a_missing_cell_from_the_mean():
    assert cells([None, 90], missing_indicator=True) == [0.0, 1.0, 1.0, 0.0]
    assert cells([40, 90], missing_indicator=True) == [0.0, 1.0, 0.0, 0.0]


def test_an_empty_object_misses_every_cell():
    assert cells({}, missing_indicator=True) == [0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(("indicator", "width"), [(False, 2), (True, 4)])
def test_the_row_has_the_declared_width(indicator, width):
    made = processor("tabular", {"columns": COLUMNS, "missing_indicator": indicator})
    assert (made.shape, made.dtype) == ((width,), "float32")
    assert made.decode(b"[1, 2]").dtype == np.float32


def test_white_space_and_a_byte_order_mark_are_nothing():
    payload = b"\xef\xbb\xbf  [55,\n50] "
    assert processor("tabular", {"columns": COLUMNS}).decode(payload).tolist() == [1.5, -1.0]


def test_the_largest_float32_is_accepted():
    largest = float(np.finfo(np.float32).max)
    made = processor("tabular", {"columns": [{"name": "a"}]}).decode(json.dumps([largest]).encode())
    assert made.tolist() == [largest]


@pytest.mark.parametrize(
    "columns",
    [
        [],
        [{"name": "a"}, {"name": "a"}],
        [{"name": "a", "scale": 0}],
        [{"name": "a", "mean": float("nan")}],
        [{"name": ""}],
    ],
)
def test_columns_that_make_no_sense_are_refused(columns):
    with pytest.raises(SettingsError, match=r"settings\.columns"):
        processor("tabular", {"columns": columns})
