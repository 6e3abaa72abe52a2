from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from demo_files import write_examples
from demo_plot import draw
from paired_rows import Rows
from PIL import Image
from served_accuracy import PATTERNS
from served_models import MODELS
from served_speed import Speed

from onepath.contract.presence import pattern_name
from onepath.export.recipe import recipe_from_file

ROWS = Rows(
    [{"image": b"png%d" % number, "audio": b"wav%d" % number, "text": b"sept"} for number in range(14)],
    np.arange(14, dtype=np.int64) % 10,
)


def test_the_recipe_makes_every_pipeline_that_the_demo_asks() -> None:
    recipe = recipe_from_file(Path(__file__).parents[2] / "export" / "digits" / "recipe.yaml")
    assert set(recipe.bundles) == {model.name for model in MODELS}


def test_a_model_reads_of_a_pattern_only_what_it_takes() -> None:
    reads = {model.name: model.reads(("image", "text")) for model in MODELS}
    assert reads["digits-image"] == ("image",)
    assert reads["digits-audio"] == ()
    assert reads["digits"] == ("image", "text")


def test_there_are_seven_presence_patterns() -> None:
    assert len(PATTERNS) == 7


def test_the_example_files_are_payloads_of_the_first_seven(tmp_path: Path) -> None:
    png, wav, _ = write_examples(tmp_path, ROWS)
    assert (png.name, png.read_bytes()) == ("seven.png", b"png7")
    assert (wav.name, wav.read_bytes()) == ("seven.wav", b"wav7")


def test_the_rows_to_score_have_one_pattern_after_another(tmp_path: Path) -> None:
    table = pq.read_table(write_examples(tmp_path, ROWS)[2]).to_pydict()
    present = [tuple(m for m in ("image", "audio", "text") if table[m][row] is not None) for row in range(14)]
    assert present == [*PATTERNS, *PATTERNS]


def test_the_rows_to_score_keep_their_digits(tmp_path: Path) -> None:
    table = pq.read_table(write_examples(tmp_path, ROWS)[2]).to_pydict()
    assert table["digit"] == [number % 10 for number in range(14)]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    names = [pattern_name(pattern) for pattern in PATTERNS]
    cells = {name: {model.name: 0.9 for model in MODELS if model.reads(name.split("+"))} for name in names}
    draw(tmp_path / "plot.png", cells, {name: Speed(3.0, 5.0, 400.0) for name in names}, rows=599)
    return tmp_path / "plot.png"


def test_the_picture_is_a_png_that_is_large_enough_to_read(picture: Path) -> None:
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert image.width >= 1500


def test_the_picture_is_not_blank(picture: Path) -> None:
    with Image.open(picture) as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 50
