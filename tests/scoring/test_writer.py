import os
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onepath.contract.errors import ScoringError
from onepath.scoring.writer import published

SCHEMA = pa.schema([("number", pa.int64())])


def batch(*numbers):
    return pa.record_batch([pa.array(numbers, pa.int64())], schema=SCHEMA)


def test_a_file_has_its_name_only_once_it_is_whole(tmp_path):
    path = tmp_path / "out" / "rows.parquet"
    with published(path, SCHEMA) as groups:
        groups.add(batch(1, 2))
        assert not path.exists()
    assert pq.read_table(path)["number"].to_pylist() == [1, 2]


def test_an_error_leaves_nothing_behind(tmp_path):
    with pytest.raises(ZeroDivisionError), published(tmp_path / "rows.parquet", SCHEMA) as groups:
        groups.add(batch(1 // 0))
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_the_file_that_was_there(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), published(tmp_path / "rows.parquet", SCHEMA) as groups:
        groups.add(batch(1 // 0))
    assert (tmp_path / "rows.parquet").read_bytes() == b"old"


def test_small_batches_share_a_row_group(tmp_path):
    with published(tmp_path / "rows.parquet", SCHEMA) as groups:
        for number in range(100):
            groups.add(batch(number))
    assert pq.ParquetFile(tmp_path / "rows.parquet").num_row_groups == 1


def test_many_rows_are_written_in_several_row_groups(tmp_path):
    with published(tmp_path / "rows.parquet", SCHEMA) as groups:
        for start in range(0, 150_000, 10_000):
            groups.add(batch(*range(start, start + 10_000)))
    assert pq.ParquetFile(tmp_path / "rows.parquet").num_row_groups == 3


def test_a_file_without_rows_has_its_columns(tmp_path):
    with published(tmp_path / "rows.parquet", SCHEMA):
        pass
    assert pq.read_table(tmp_path / "rows.parquet").schema.names == ["number"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "taken").touch()
    with (
        pytest.raises(ScoringError, match=r"cannot write .*taken/rows\.parquet"),
        published(tmp_path / "taken" / "rows.parquet", SCHEMA),
    ):
        pass


def test_what_a_killed_writer_left_is_removed_and_a_running_ones_is_not(tmp_path):
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = tmp_path / f".rows.parquet.{ended.pid}.tmp"
    running = tmp_path / f".rows.parquet.{os.getppid()}.tmp"
    left.write_bytes(b"half")
    running.write_bytes(b"half")
    with published(tmp_path / "rows.parquet", SCHEMA) as groups:
        groups.add(batch(1))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([running.name, "rows.parquet"])
