import pytest

from onepath.contract.errors import ScoringError
from onepath.scoring.inputs import input_files


@pytest.fixture
def folder(tmp_path):
    for name in ("b.parquet", "a.parquet", "day=1/part.parquet", "_metadata.parquet", ".a.parquet.tmp", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(*inputs):
    return [str(file.name) for file in input_files(inputs)]


def test_a_file_keeps_its_name(folder):
    assert names(folder / "b.parquet") == ["b.parquet"]


def test_a_folder_gives_its_files_sorted_and_below_it_without_hidden_ones(folder):
    assert names(folder) == ["a.parquet", "b.parquet", "day=1/part.parquet"]


def test_a_pattern_gives_what_it_matches_below_its_fixed_part(folder):
    assert names(f"{folder}/day=*/*.parquet") == ["day=1/part.parquet"]


def test_a_pattern_crosses_folders_where_it_says_so(folder):
    assert names(f"{folder}/**/*.parquet") == ["a.parquet", "b.parquet", "day=1/part.parquet"]


def test_a_relative_pattern_starts_here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert names("*.parquet") == ["a.parquet", "b.parquet"]


@pytest.mark.parametrize("given", ["none.parquet", "none", "*.orc", "day=1/*.txt"])
def test_an_input_without_a_file_is_refused_by_name(folder, given):
    with pytest.raises(ScoringError, match=given.replace("*", r"\*")):
        input_files([folder / given])


def test_nothing_given_is_refused():
    with pytest.raises(ScoringError, match="nothing to score"):
        input_files([])


def test_two_files_of_one_name_are_refused(folder):
    (folder / "other").mkdir()
    (folder / "other" / "a.parquet").touch()
    with pytest.raises(ScoringError, match=r"would both be written as a\.parquet"):
        input_files([folder / "a.parquet", folder / "other" / "a.parquet"])
