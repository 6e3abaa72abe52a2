import dataclasses

import numpy as np
import pytest

from onepath.contract.errors import ScoringError
from onepath.contract.presence import ROW_EMPTY, ROW_FAILED, ROW_OK
from onepath.contract.status import Status
from onepath.scoring import EngineSettings, LocalEngine, pipeline_from_bundle
from tests.server.bundles import MAX_BATCH_SIZE, payloads_from_row, scores

TOLERANCE = 1e-6
ROWS = [
    {"level": 10, "text": "abc"},
    {"text": "cc"},
    {"level": 250},
    {},
    {"level": 77, "text": "b"},
]
CORRUPT = b"\x89PNG\r\n\x1a\n and then nothing of the kind"


@pytest.fixture(scope="module")
def engine(bundle):
    with LocalEngine(bundle, EngineSettings(graph_threads=1, decode_threads=2)) as opened:
        yield opened


def columns(rows):
    payloads = [payloads_from_row(**row) for row in rows]
    return {name: [row.get(name, b"") for row in payloads] for name in ("image", "text")}


def expected(rows):
    return np.array([scores(**row) for row in rows])


def test_every_presence_pattern_gives_the_scores_of_the_closed_form(engine):
    np.testing.assert_allclose(engine.run(columns(ROWS)).outputs["scores"], expected(ROWS), atol=TOLERANCE)


def test_the_closed_form_of_other_rows_is_told_apart(engine):
    others = [row | {"level": row["level"] + 1} if "level" in row else row for row in ROWS]
    assert np.abs(engine.run(columns(ROWS)).outputs["scores"] - expected(others)).max() > 100 * TOLERANCE


def test_presence_says_what_was_used(engine):
    assert engine.run(columns(ROWS)).presence.tolist() == [[1, 1], [0, 1], [1, 0], [0, 0], [1, 1]]


def test_a_row_with_nothing_present_says_so_and_has_zeros(engine):
    scored = engine.run(columns(ROWS))
    assert scored.row_status.tolist() == [ROW_OK, ROW_OK, ROW_OK, ROW_EMPTY, ROW_OK]
    assert scored.outputs["scores"][3].tolist() == [0, 0, 0]


def test_a_modality_that_is_not_given_is_absent(engine):
    scored = engine.run({"image": columns(ROWS)["image"]})
    assert scored.presence[:, 1].tolist() == [0] * len(ROWS)


def test_a_row_scores_alone_as_it_does_in_company(engine):
    together = engine.run(columns(ROWS)).outputs["scores"]
    alone = [engine.run(columns([row])).outputs["scores"][0] for row in ROWS]
    np.testing.assert_allclose(alone, together, atol=TOLERANCE)


def test_more_rows_than_the_largest_batch_are_scored_in_several_runs(engine):
    rows = [{"level": level} for level in range(2 * MAX_BATCH_SIZE + 3)]
    np.testing.assert_allclose(engine.run(columns(rows)).outputs["scores"], expected(rows), atol=TOLERANCE)


def test_a_corrupt_image_leaves_its_neighbours_exactly_as_they_were(engine):
    clean, damaged = columns(ROWS), columns(ROWS)
    damaged["image"][2] = CORRUPT
    before, after = engine.run(clean), engine.run(damaged)
    others = [0, 1, 3, 4]
    np.testing.assert_array_equal(after.outputs["scores"][others], before.outputs["scores"][others])
    assert after.outputs["scores"][2].tolist() != before.outputs["scores"][2].tolist()


def test_a_bad_payload_that_counts_as_absent_has_a_status(engine):
    scored = engine.run({"image": [CORRUPT], "text": [b"abc"]})
    assert scored.statuses["image"][0].code in ("corrupt", "truncated")
    assert scored.statuses["text"] == [None]
    np.testing.assert_allclose(scored.outputs["scores"][0], scores(text="abc"), atol=TOLERANCE)


def test_a_bad_payload_of_a_strict_modality_fails_its_row(engine):
    scored = engine.run({"image": columns([{"level": 9}])["image"], "text": [b"\xff\xfe"]})
    assert (scored.row_status.tolist(), scored.outputs["scores"].tolist()) == ([ROW_FAILED], [[0, 0, 0]])


@pytest.mark.parametrize(("modality", "status"), [("image", ROW_EMPTY), ("text", ROW_FAILED)])
def test_a_payload_that_could_not_be_read_counts_as_a_bad_one(engine, modality, status):
    unread = Status("unreadable_file", "cannot read it")
    scored = engine.run({modality: [unread]})
    assert (scored.statuses[modality], scored.row_status.tolist()) == ([unread], [status])


def test_an_unknown_modality_is_answered_with_the_known_ones(engine):
    with pytest.raises(ScoringError, match="no modality 'sound'; it has image, text"):
        engine.run({"sound": [b""]})


@pytest.mark.parametrize("given", [{}, {"image": []}, {"image": [b""], "text": [b"", b""]}])
def test_columns_must_have_one_payload_a_row(engine, given):
    with pytest.raises(ScoringError, match="one payload a row"):
        engine.run(given)


def test_a_provider_that_is_not_there_is_refused_rather_than_replaced(bundle):
    settings = EngineSettings(providers=("TensorrtExecutionProvider", "CPUExecutionProvider"))
    with pytest.raises(ScoringError, match=r"no working TensorrtExecutionProvider here; available: .*CPU"):
        LocalEngine(bundle, settings)


def test_a_graph_that_cannot_be_loaded_is_named(bundle, tmp_path):
    graph = tmp_path / "model.onnx"
    graph.write_bytes(b"not a graph")
    with pytest.raises(ScoringError, match=f"cannot load {graph}"):
        LocalEngine(dataclasses.replace(pipeline_from_bundle(bundle), graph_path=graph))
