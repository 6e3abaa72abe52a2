"""Held-out rows from a file."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onepath.contract.errors import RecipeError
from onepath.export.held_out_rows import rows_from_file
from onepath.export.recipe import Recipe

RECIPE = Recipe.model_validate(
    {
        "name": "rows",
        "task": "classification",
        "labels": ["no", "yes"],
        "code": "train.py",
        "modalities": {"picture": {"kind": "image"}, "word": {"kind": "text"}, "cells": {"kind": "tabular"}},
        "bundles": {"rows": {"model": "merged"}},
    }
)
ROWS = [
    {"picture": "a.png", "word": "äh", "cells": {"x": 1.5}, "target": "yes"},
    {"picture": None, "word": "", "cells": [1, 2], "target": 0},
]
PAYLOADS = [{"picture": b"PNG", "word": "äh".encode(), "cells": b'{"x": 1.5}'}, {"cells": b"[1, 2]"}]


def lines(folder, rows):
    (folder / "a.png").write_bytes(b"PNG")
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n\n" for row in rows))
    return folder / "rows.jsonl"


def test_json_lines_hold_texts_tables_and_paths(tmp_path):
    read = rows_from_file(lines(tmp_path, ROWS), RECIPE)
    assert list(read.rows) == PAYLOADS
    assert list(read.targets) == [1, 0]


def test_parquet_holds_bytes_texts_and_structs(tmp_path):
    columns = {
        "picture": pa.array([b"PNG", None], pa.binary()),
        "word": ["äh", None],
        "cells": [{"x": 1.5}, None],
        "target": [1, 0],
    }
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    read = rows_from_file(tmp_path / "rows.parquet", RECIPE)
    assert list(read.rows) == [PAYLOADS[0], {}]
    assert list(read.targets) == [1, 0]


def test_targets_may_be_left_out(tmp_path):
    rows = [{name: value for name, value in row.items() if name != "target"} for row in ROWS]
    assert list(rows_from_file(lines(tmp_path, rows), RECIPE).targets) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"target": "maybe"}, r"rows\.1\.target: 'maybe' is no label"),
        ({"target": 2}, r"rows\.1\.target: 2 is no label"),
        ({"target": True}, r"rows\.1\.target: True is no label"),
        ({"target": None}, r"rows\.1\.target: None is no label"),
        ({"picture": "gone.png"}, r"rows\.1\.picture: cannot read gone\.png"),
        ({"picture": 3}, r"rows\.1\.picture: 3 is not a path"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path, change, told):
    with pytest.raises(RecipeError, match=told):
        rows_from_file(lines(tmp_path, [ROWS[0], ROWS[1] | change]), RECIPE)


def test_every_column_that_is_missing_is_named(tmp_path):
    with pytest.raises(RecipeError) as refused:
        rows_from_file(lines(tmp_path, [{"word": "a"}]), RECIPE)
    assert [where for where, _ in refused.value.problems] == ["rows.picture", "rows.cells"]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet", "rows.csv"])
def test_a_file_that_is_no_table_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xff{")
    with pytest.raises(RecipeError, match="rows: "):
        rows_from_file(tmp_path / name, RECIPE)


def test_a_line_that_is_no_object_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="no JSON object"):
        rows_from_file(lines(tmp_path, [ROWS[0], [1]]), RECIPE)


def test_a_column_of_another_kind_is_named(tmp_path):
    columns = {"picture": [1], "word": ["a"], "cells": ["[]"]}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    with pytest.raises(RecipeError, match=r"rows\.picture: .*which is no image"):
        rows_from_file(tmp_path / "rows.parquet", RECIPE)


def test_a_file_without_rows_says_so(tmp_path):
    with pytest.raises(RecipeError, match="rows: has no rows"):
        rows_from_file(lines(tmp_path, []), RECIPE)
