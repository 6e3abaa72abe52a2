import json
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from onepath.contract.errors import ScoringError
from onepath.scoring import EngineSettings, ScoreSettings, score
from tests.server.bundles import LABELS, png, scores

ENGINE = EngineSettings(graph_threads=1, decode_threads=2)
SETTINGS = ScoreSettings(engine=ENGINE)
ROWS = [
    {"level": 10, "text": "abc"},
    {"text": "cc"},
    {"level": 250},
    {},
    {"level": 77, "text": "b"},
]


def write(path, rows=ROWS, **columns):
    images = [png(row["level"]) if "level" in row else None for row in rows]
    table = {
        "key": list(range(len(rows))),
        "image": pa.array(images, pa.binary()),
        "text": pa.array([row.get("text") for row in rows], pa.string()),
    } | columns
    pq.write_table(pa.table({name: column for name, column in table.items() if column is not None}), path)
    return path


@pytest.fixture
def run(bundle, tmp_path):
    """Score files into a folder and return the one output's columns."""

    def score_files(*inputs, **changes):
        settings = SETTINGS.model_copy(update=changes)
        score(bundle, inputs, tmp_path / "scored", settings)
        (output,) = (tmp_path / "scored").rglob("*.parquet")
        return pq.read_table(output).to_pydict()

    return score_files


def test_scores_are_those_of_the_closed_form(run, tmp_path):
    found = run(write(tmp_path / "rows.parquet"))
    np.testing.assert_allclose(found["scores"], [scores(**row) for row in ROWS], atol=1e-6)


def test_scores_of_other_rows_are_told_apart(run, tmp_path):
    found = run(write(tmp_path / "rows.parquet", rows=[{"level": 11}]))
    assert np.abs(np.array(found["scores"]) - scores(level=10)).max() > 1e-4


def test_the_columns_are_the_inputs_without_media_and_then_the_answers(run, tmp_path):
    assert list(run(write(tmp_path / "rows.parquet"))) == [
        "key",
        "text",
        "label",
        "score",
        "scores",
        "image_status",
        "text_status",
        "_status",
        "_presence",
        "_bundle",
    ]


def test_the_label_is_that_of_the_highest_score(run, tmp_path):
    found = run(write(tmp_path / "rows.parquet"))
    best = [int(np.argmax(scores(**row))) for row in ROWS]
    assert found["label"] == [LABELS[index] if row else None for index, row in zip(best, ROWS, strict=True)]
    assert found["score"][0] == pytest.approx(scores(**ROWS[0])[best[0]], abs=1e-6)


def test_the_presence_of_each_row_is_named(run, tmp_path):
    found = run(write(tmp_path / "rows.parquet"))
    assert found["_presence"] == ["image+text", "text", "image", "none", "image+text"]


def test_only_a_row_without_an_answer_has_a_status(run, tmp_path):
    found = run(write(tmp_path / "rows.parquet"))
    assert [status is None for status in found["_status"]] == [True, True, True, False, True]
    assert "nothing is present" in found["_status"][3]


def test_a_row_without_an_answer_has_zeros_but_no_label_and_no_score(run, tmp_path):
    found = run(write(tmp_path / "rows.parquet"))
    assert (found["label"][3], found["score"][3], found["scores"][3]) == (None, None, [0, 0, 0])


def test_every_row_carries_the_id_of_the_bundle(run, tmp_path, bundle):
    assert set(run(write(tmp_path / "rows.parquet"))["_bundle"]) == {bundle.id}


def test_a_corrupt_payload_has_its_status_and_leaves_its_neighbours_as_they_were(run, tmp_path):
    images = [png(row["level"]) if "level" in row else None for row in ROWS]
    before = run(write(tmp_path / "rows.parquet"))
    images[2] = b"junk"
    after = run(write(tmp_path / "rows.parquet", image=pa.array(images, pa.binary())), overwrite=True)
    assert json.loads(after["image_status"][2])["code"] == "unsupported_format"
    others = [0, 1, 3, 4]
    assert [after["scores"][row] for row in others] == [before["scores"][row] for row in others]
    assert [after["image_status"][row] for row in others] == [None] * 4


def test_a_bad_payload_of_a_strict_modality_fails_only_its_row(run, tmp_path):
    text = pa.array([b"abc", b"\xff\xfe", b"abc"], pa.binary())
    found = run(write(tmp_path / "rows.parquet", rows=ROWS[:1] * 3, text=text))
    assert [status is None for status in found["_status"]] == [True, False, True]
    assert json.loads(found["text_status"][1])["code"] == "not_utf8"


def test_paths_are_relative_to_the_file_that_names_them(run, tmp_path):
    (tmp_path / "data" / "media").mkdir(parents=True)
    (tmp_path / "data" / "media" / "dark.png").write_bytes(png(10))
    images = ["media/dark.png", str(tmp_path / "data" / "media" / "dark.png")]
    found = run(write(tmp_path / "data" / "rows.parquet", rows=[{}, {}], image=images))
    np.testing.assert_allclose(found["scores"], [scores(level=10)] * 2, atol=1e-6)
    assert found["image"] == images


def test_a_missing_file_is_that_rows_status(run, tmp_path):
    found = run(write(tmp_path / "rows.parquet", rows=[{"text": "a"}], image=["none.png"]))
    assert json.loads(found["image_status"][0])["code"] == "unreadable_file"
    assert found["_presence"] == ["text"]


def test_media_outside_of_the_root_are_not_read(run, tmp_path):
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "in.png").write_bytes(png(10))
    (tmp_path / "out.png").write_bytes(png(10))
    rows = write(tmp_path / "rows.parquet", rows=[{}, {}], image=["in.png", "../out.png"])
    found = run(rows, media_root=tmp_path / "media")
    assert found["_presence"] == ["image", "none"]
    assert json.loads(found["image_status"][1])["code"] == "outside_root"


def test_a_column_may_have_another_name(run, tmp_path):
    rows = write(tmp_path / "rows.parquet", rows=[{"text": "a"}], image=None, photo=[png(10)])
    assert run(rows, columns={"image": "photo"})["_presence"] == ["image+text"]


def test_a_modality_without_a_column_is_absent_and_noted(bundle, tmp_path):
    rows = write(tmp_path / "rows.parquet", rows=[{"level": 10}], text=None)
    report = score(bundle, [rows], tmp_path / "scored", SETTINGS)
    assert report.presence == {"image": 1}
    assert report.notes == (f"text is absent in every row of {rows}, which has no column 'text'",)


def test_media_bytes_are_kept_where_asked(run, tmp_path):
    assert run(write(tmp_path / "rows.parquet", rows=[{"level": 3}]), keep_payloads=True)["image"] == [png(3)]


def test_a_column_that_the_output_adds_is_refused_and_a_prefix_helps(run, tmp_path):
    rows = write(tmp_path / "rows.parquet", label=["truth"] * len(ROWS))
    with pytest.raises(ScoringError, match=r"column 'label', which the output adds; .*--prefix"):
        run(rows)
    found = run(rows, prefix="predicted_")
    assert (found["label"][0], found["predicted_label"][0]) == ("truth", "high")


def test_batches_of_any_size_give_the_same_rows_in_the_same_order(run, tmp_path):
    rows = [{"level": level} for level in range(37)]
    path = write(tmp_path / "rows.parquet", rows=rows)
    whole = run(path)
    pieces = run(path, batch_rows=5, overwrite=True)
    assert pieces["key"] == whole["key"] == list(range(37))
    np.testing.assert_allclose(pieces["scores"], whole["scores"], atol=1e-6)


def test_a_file_without_rows_gives_a_file_without_rows(run, tmp_path):
    found = run(write(tmp_path / "rows.parquet", rows=[]))
    assert found["label"] == []
    assert "_bundle" in found


def test_a_folder_gives_one_output_for_each_file(bundle, tmp_path):
    (tmp_path / "rows" / "day=1").mkdir(parents=True)
    write(tmp_path / "rows" / "a.parquet")
    write(tmp_path / "rows" / "day=1" / "b.parquet", rows=ROWS[:2])
    report = score(bundle, [tmp_path / "rows"], tmp_path / "scored", SETTINGS)
    assert [pq.read_metadata(path).num_rows for path in report.files] == [5, 2]
    assert report.files[1] == tmp_path / "scored" / "day=1" / "b.parquet"


def test_the_report_counts_rows_patterns_and_bad_payloads(bundle, tmp_path):
    images = pa.array([png(1), b"junk", None, None, b"junk"], pa.binary())
    report = score(bundle, [write(tmp_path / "rows.parquet", image=images)], tmp_path / "scored", SETTINGS)
    assert (report.rows, report.presence) == (5, {"text": 2, "none": 2, "image+text": 1})
    assert (list(report.unusable.values()), report.bad_payloads) == ([2], {"image": 2})
    assert report.rows_per_s == pytest.approx(5 / report.seconds)


def test_progress_is_told_of_every_batch(bundle, tmp_path):
    told = []
    rows = write(tmp_path / "rows.parquet")
    settings = SETTINGS.model_copy(update={"batch_rows": 2})
    score(bundle, [rows], tmp_path / "scored", settings, lambda done, total: told.append((done, total)))
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_an_output_that_exists_is_refused_before_anything_is_scored(bundle, tmp_path):
    inputs = [write(tmp_path / "a.parquet"), write(tmp_path / "b.parquet")]
    (tmp_path / "scored").mkdir()
    (tmp_path / "scored" / "b.parquet").write_bytes(b"old")
    with pytest.raises(ScoringError, match=r"b\.parquet exists; replace it with --overwrite"):
        score(bundle, inputs, tmp_path / "scored", SETTINGS)
    assert [path.name for path in (tmp_path / "scored").iterdir()] == ["b.parquet"]


def test_an_output_that_exists_is_replaced_where_asked(bundle, tmp_path):
    rows = write(tmp_path / "rows.parquet")
    (tmp_path / "scored").mkdir()
    (tmp_path / "scored" / "rows.parquet").write_bytes(b"old")
    score(bundle, [rows], tmp_path / "scored", SETTINGS.model_copy(update={"overwrite": True}))
    assert pq.read_metadata(tmp_path / "scored" / "rows.parquet").num_rows == 5


def test_an_input_is_never_replaced(bundle, tmp_path):
    rows = write(tmp_path / "rows.parquet")
    with pytest.raises(ScoringError, match="would replace an input"):
        score(bundle, [rows], tmp_path, SETTINGS.model_copy(update={"overwrite": True}))


def test_an_interruption_leaves_no_trace(bundle, tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(bundle, [write(tmp_path / "rows.parquet")], tmp_path / "scored", SETTINGS, interrupt)
    assert list((tmp_path / "scored").iterdir()) == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(("read", "decode"))] == []


def test_a_file_that_is_damaged_in_the_middle_leaves_no_output(bundle, tmp_path):
    rng = np.random.default_rng(0)
    rows = write(tmp_path / "rows.parquet", rows=[{"level": 1}] * 2000, key=rng.bytes(2000))
    damaged = bytearray(rows.read_bytes())
    damaged[40:400] = bytes(360)
    rows.write_bytes(damaged)
    with pytest.raises(ScoringError, match=r"cannot read .*rows\.parquet as Parquet"):
        score(bundle, [rows], tmp_path / "scored", SETTINGS)
    assert [*(tmp_path / "scored").glob("*"), *(tmp_path / "scored").glob(".*")] == []


@pytest.mark.parametrize("content", [b"", b"PAR1", b"this is not Parquet, whatever its name says"])
def test_a_file_that_is_not_parquet_is_named(bundle, tmp_path, content):
    (tmp_path / "rows.parquet").write_bytes(content)
    with pytest.raises(ScoringError, match=r"cannot read .*rows\.parquet as Parquet"):
        score(bundle, [tmp_path / "rows.parquet"], tmp_path / "scored", SETTINGS)


def test_a_file_without_any_modality_lists_its_columns(bundle, tmp_path):
    rows = write(tmp_path / "rows.parquet", image=None, text=None)
    with pytest.raises(ScoringError, match=r"no column for any of image, text; its columns are key; .*--column image="):
        score(bundle, [rows], tmp_path / "scored", SETTINGS)


def test_a_column_that_was_asked_for_must_be_there(bundle, tmp_path):
    rows = write(tmp_path / "rows.parquet")
    with pytest.raises(ScoringError, match="no column 'photo' for image; its columns are key, image, text"):
        score(bundle, [rows], tmp_path / "scored", SETTINGS.model_copy(update={"columns": {"image": "photo"}}))


def test_a_modality_that_was_asked_for_must_be_there(bundle, tmp_path):
    rows = write(tmp_path / "rows.parquet")
    with pytest.raises(ScoringError, match="no modality 'sound'; it has image, text"):
        score(bundle, [rows], tmp_path / "scored", SETTINGS.model_copy(update={"columns": {"sound": "key"}}))


def test_a_column_of_another_type_is_refused_before_anything_is_scored(bundle, tmp_path):
    good = write(tmp_path / "a.parquet")
    bad = write(tmp_path / "b.parquet", image=list(range(len(ROWS))))
    with pytest.raises(ScoringError, match="the column 'image' holds int64"):
        score(bundle, [good, bad], tmp_path / "scored", SETTINGS)
    assert not (tmp_path / "scored").exists()
