import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pyarrow as pa
import pytest

from onepath.contract.errors import ScoringError
from onepath.scoring.columns import holds_media_bytes, reader_from_type
from onepath.scoring.media import MediaFolder


def payloads(kind, array, folder="."):
    reader = reader_from_type(kind, array.type, column="it", folder=MediaFolder(folder))
    with ThreadPoolExecutor(2) as pool:
        return reader(array, pool)


@pytest.mark.parametrize("dtype", [pa.binary(), pa.large_binary(), pa.binary(2), pa.binary_view()])
@pytest.mark.parametrize("kind", ["image", "audio", "text", "tabular", "thermal"])
def test_bytes_are_payloads_of_every_kind(kind, dtype):
    assert payloads(kind, pa.array([b"ab", None], dtype)) == [b"ab", b""]


@pytest.mark.parametrize("dtype", [pa.string(), pa.large_string(), pa.string_view()])
@pytest.mark.parametrize("kind", ["text", "tabular"])
def test_strings_are_the_values_of_text_and_tables(kind, dtype):
    assert payloads(kind, pa.array(["sieben", "", None], dtype)) == [b"sieben", b"", b""]


@pytest.mark.parametrize("kind", ["image", "audio", "thermal"])
def test_strings_are_the_paths_of_media(kind, tmp_path):
    (tmp_path / "seven.png").write_bytes(b"pixels")
    assert payloads(kind, pa.array(["seven.png", None, ""]), tmp_path) == [b"pixels", b"", b""]


def test_repeated_strings_that_were_encoded_as_a_dictionary_are_strings():
    assert payloads("text", pa.array(["a", None, "a"]).dictionary_encode()) == [b"a", b"", b"a"]


def test_a_column_of_nulls_is_absent_in_every_row():
    assert payloads("image", pa.nulls(2)) == [b"", b""]


def test_a_struct_of_bytes_and_path_gives_the_bytes_or_else_the_file(tmp_path):
    (tmp_path / "b.png").write_bytes(b"from the file")
    dtype = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": b"own", "path": "b.png"}, {"bytes": None, "path": "b.png"}, {"bytes": None, "path": None}, None]
    assert payloads("image", pa.array(rows, dtype), tmp_path) == [b"own", b"from the file", b"", b""]


def test_a_struct_is_a_row_of_a_table_and_nan_a_missing_cell():
    rows = [{"age": 41.0, "plan": None}, {"age": float("nan"), "plan": 2}, None]
    found = payloads("tabular", pa.array(rows, pa.struct([("age", pa.float64()), ("plan", pa.int32())])))
    assert [json.loads(payload) if payload else None for payload in found] == [
        {"age": 41.0, "plan": None},
        {"age": None, "plan": 2},
        None,
    ]


@pytest.mark.parametrize("dtype", [pa.list_(pa.float32()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 2)])
def test_a_list_is_a_row_of_a_table(dtype):
    found = payloads("tabular", pa.array([[1.5, None], None], dtype))
    assert found == [b"[1.5, null]", b""]


def test_a_map_is_a_row_of_a_table():
    array = pa.array([[("age", 41), ("plan", None)], []], pa.map_(pa.string(), pa.int64()))
    assert payloads("tabular", array) == [b'{"age": 41, "plan": null}', b"[]"]


def test_decimals_are_numbers():
    array = pa.array([{"price": Decimal("1.25")}], pa.struct([("price", pa.decimal128(5, 2))]))
    assert payloads("tabular", array) == [b'{"price": 1.25}']


@pytest.mark.parametrize(
    ("kind", "dtype", "expected"),
    [
        ("image", pa.int64(), "bytes, or strings that are paths"),
        ("audio", pa.list_(pa.float32()), "bytes, or strings that are paths"),
        ("image", pa.struct([("width", pa.int32())]), "bytes, or strings that are paths"),
        ("text", pa.float32(), "give strings"),
        ("tabular", pa.int64(), "a struct, a list or JSON strings"),
    ],
)
def test_a_column_of_another_type_is_refused_by_name(kind, dtype, expected):
    with pytest.raises(ScoringError, match=rf"the column 'it' holds .*, which is no {kind}; .*{expected}"):
        reader_from_type(kind, dtype, column="it", folder=MediaFolder("."))


@pytest.mark.parametrize(
    ("kind", "dtype", "holds"),
    [
        ("image", pa.binary(), True),
        ("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())]), True),
        ("image", pa.string(), False),
        ("text", pa.binary(), False),
    ],
)
def test_only_media_themselves_count_as_media_bytes(kind, dtype, holds):
    assert holds_media_bytes(kind, dtype) is holds
