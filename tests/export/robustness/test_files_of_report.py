"""What a bundle holds of a report: JSON that reads itself back, a table, and a picture."""

import io
import json
import sys

import pytest
from PIL import Image

from onepath.contract.errors import BundleIntegrityError, MissingExtraError
from onepath.contract.robustness import (
    HEAT_MAP,
    ROBUSTNESS,
    Estimate,
    PatternResult,
    RobustnessReport,
    ZeroFilling,
    robustness_from_bundle,
    table_headings,
    table_rows,
)
from onepath.export.robustness import files_of_report, heat_map


@pytest.fixture(scope="module")
def files(report):
    return files_of_report(report, name="adder")


@pytest.fixture
def bundle(tmp_path, files):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def changed(bundle, **changes):
    report = json.loads((bundle / ROBUSTNESS).read_bytes())
    (bundle / ROBUSTNESS).write_text(json.dumps(report | changes))
    return bundle


def test_a_report_in_a_bundle_is_read_back_as_it_was(bundle, report):
    assert robustness_from_bundle(bundle) == report


def test_a_bundle_without_a_report_has_none(tmp_path):
    assert robustness_from_bundle(tmp_path) is None


def test_a_newer_report_is_refused_with_its_version(bundle):
    with pytest.raises(BundleIntegrityError, match="schema version 2, and this onepath reads version 1"):
        robustness_from_bundle(changed(bundle, schema_version=2))


@pytest.mark.parametrize("change", [{"metric": "beauty"}, {"colour": "red"}, {"patterns": []}, {"rows": 0}])
def test_a_report_of_another_form_is_refused(bundle, change):
    with pytest.raises(BundleIntegrityError, match="not a valid robustness report"):
        robustness_from_bundle(changed(bundle, **change))


def test_a_report_that_is_no_json_is_refused(bundle):
    (bundle / ROBUSTNESS).write_bytes(b"\xff{")
    with pytest.raises(BundleIntegrityError, match="not a valid robustness report"):
        robustness_from_bundle(bundle)


def test_the_json_holds_no_time_no_place_and_no_machine(files):
    assert sorted(json.loads(files[ROBUSTNESS])) == [
        "encoders",
        "encoders_left_out",
        "metric",
        "modalities",
        "notes",
        "patterns",
        "patterns_accepted",
        "rows",
        "rows_available",
        "schema_version",
        "seed",
        "task",
    ]


def exactly(value, around=0.1):
    return Estimate(value=value, low=value - around, high=value + around)


SMALL = RobustnessReport(
    task="classification",
    metric="accuracy",
    modalities=("a", "b"),
    rows=10,
    rows_available=10,
    patterns_accepted=2,
    seed=0,
    encoders={"a": exactly(0.5), "b": exactly(0.625)},
    patterns=(
        PatternResult(
            present=("a",),
            metric=exactly(0.5),
            agreement=exactly(0.75),
            gain_over_encoder={"a": exactly(0.0), "b": exactly(-0.125)},
            zero_filling=ZeroFilling(metric=exactly(0.25), gain=exactly(0.25)),
        ),
        PatternResult(
            present=("a", "b"),
            metric=exactly(0.75),
            agreement=exactly(1.0, 0.0),
            gain_over_encoder={"a": exactly(0.25), "b": exactly(0.125)},
        ),
    ),
)


def test_the_table_compares_with_the_best_of_the_encoders_that_are_present():
    assert table_headings(SMALL) == [
        "present",
        "accuracy, %",
        "agreement, %",
        "gain over the best encoder of them, points",
        "gain over zero-filling, points",
    ]
    assert table_rows(SMALL) == [
        ["a", "50.0 (40.0 to 60.0)", "75.0 (65.0 to 85.0)", "+0.0 (-10.0 to +10.0), a", "+25.0 (+15.0 to +35.0)"],
        ["a+b", "75.0 (65.0 to 85.0)", "100.0 (100.0 to 100.0)", "+12.5 (+2.5 to +22.5), b", ""],
    ]


def test_a_pattern_without_an_encoder_to_compare_with_says_so_in_the_table():
    without_a = [
        result.model_copy(update={"gain_over_encoder": {"b": result.gain_over_encoder["b"]}})
        for result in SMALL.patterns
    ]
    report = SMALL.model_copy(
        update={"encoders": {"b": exactly(0.625)}, "encoders_left_out": {"a": "none"}, "patterns": tuple(without_a)}
    )
    assert [row[3] for row in table_rows(report)] == ["not compared", "+12.5 (+2.5 to +22.5), b"]


def test_the_column_of_gains_is_there_where_all_encoders_were_left_out():
    bare = tuple(result.model_copy(update={"gain_over_encoder": {}}) for result in SMALL.patterns)
    report = SMALL.model_copy(
        update={"encoders": {}, "encoders_left_out": {"a": "none", "b": "none"}, "patterns": bare}
    )
    assert table_headings(report) == table_headings(SMALL)
    assert [row[3] for row in table_rows(report)] == ["not compared"] * 2


def test_a_table_of_embeddings_without_targets_has_cosines_and_no_empty_columns():
    bare = [result.model_copy(update={"gain_over_encoder": {}}) for result in SMALL.patterns]
    cosines = SMALL.model_copy(
        update={"task": "embedding", "metric": "agreement", "encoders": {}, "patterns": tuple(bare)}
    )
    assert table_headings(cosines) == ["present", "agreement, cosine", "gain over zero-filling, cosine"]
    assert table_rows(cosines)[0] == ["a", "0.500 (0.400 to 0.600)", "+0.250 (+0.150 to +0.350)"]


def chunks(png):
    """Return the names of the chunks of a PNG."""
    names, place = [], 8
    while place < len(png):
        names.append(png[place + 4 : place + 8])
        place += 12 + int.from_bytes(png[place : place + 4], "big")
    return names


def test_equal_reports_have_equal_pictures_and_others_have_others(files, report):
    assert heat_map(report, name="adder") == files[HEAT_MAP]
    first, *others = report.patterns
    moved = first.model_copy(update={"metric": exactly(0.5)})
    assert heat_map(report.model_copy(update={"patterns": (moved, *others)}), name="adder") != files[HEAT_MAP]


def test_a_picture_says_nothing_of_what_drew_it_and_when(files):
    assert {*chunks(files[HEAT_MAP])} <= {b"IHDR", b"pHYs", b"IDAT", b"IEND"}


def test_a_picture_has_one_more_line_for_each_pattern():
    row = SMALL.patterns[0]
    heights = []
    for count in (1, 2, 63):
        patterns = (*[row] * (count - 1), SMALL.patterns[1])
        picture = heat_map(SMALL.model_copy(update={"patterns": patterns}), name="small")
        heights.append(Image.open(io.BytesIO(picture)).height)
    assert (heights[2] - heights[1]) / 61 == pytest.approx(heights[1] - heights[0], abs=1)


def test_a_gain_is_blue_and_a_loss_is_red():
    def colour(gain):
        full = SMALL.patterns[-1].model_copy(update={"gain_over_encoder": {"a": exactly(gain)}, "metric": exactly(0.5)})
        report = SMALL.model_copy(update={"encoders": {"a": exactly(0.5)}, "patterns": (full,)})
        picture = Image.open(io.BytesIO(heat_map(report, name="small"))).convert("RGB")
        red, _, blue = picture.getpixel((int(3.0 * 110), picture.height - int(0.3 * 110)))
        return "blue" if blue > red else "red"

    assert (colour(0.2), colour(-0.2)) == ("blue", "red")


def test_without_matplotlib_the_picture_is_left_out_with_a_warning(report, files, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"onepath\[export\]"):
        heat_map(report, name="adder")
    assert files_of_report(report, name="adder") == {ROBUSTNESS: files[ROBUSTNESS]}
    assert "reports/robustness.png is left out" in caplog.text
