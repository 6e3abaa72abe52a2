"""How an answer's arrays become predictions, also from servers that say less or something else."""

from typing import Any

import numpy as np
import pytest

from onepath.clients.responses import Prediction, predictions_from_answers, rows_from_outputs
from onepath.contract.deployment import PipelineCard
from onepath.contract.errors import ServerUnavailableError
from onepath.contract.status import Status
from tests.clients.triton import CARD

PIPELINE = PipelineCard.model_validate(CARD)
SENT = {name: np.array([[b"x"], [b""]], dtype=object) for name in ("image", "audio", "text")}
SCORES = np.array([[0.1, 0.7, 0.2], [0.0, 0.0, 0.0]], dtype=np.float32)


def outputs(**changed: Any) -> dict[str, np.ndarray]:
    silent = np.array([[b""], [b""]], dtype=object)
    whole = {
        "scores": SCORES,
        "embedding": np.array([[1.0, 2.0], [0.0, 0.0]], dtype=np.float32),
        "presence": np.array([[1, 0, 1], [0, 0, 0]], dtype=np.uint8),
        "row_status": np.array([[0], [1]], dtype=np.uint8),
        "image_status": silent,
        "audio_status": np.array([[b'{"code":"too_long","message":"61 s"}'], [b""]], dtype=object),
        "text_status": silent,
    }
    return {name: array for name, array in (whole | changed).items() if array is not None}


def rows(**changed: Any) -> list[Prediction]:
    return rows_from_outputs(PIPELINE, SENT, outputs(**changed))


def test_a_row_that_is_ok_has_all_its_parts() -> None:
    row = rows()[0]
    assert (row.label, row.presence, row.row_status, row.ok) == ("one", ("image", "text"), "", True)
    assert row.score == pytest.approx(0.7)
    assert row.status == {"audio": Status("too_long", "61 s")}
    np.testing.assert_array_equal(row.scores, SCORES[0])
    np.testing.assert_array_equal(row.outputs["embedding"], [1.0, 2.0])


def test_a_row_without_an_answer_has_zeros_for_scores_and_no_label() -> None:
    row = rows()[1]
    assert (row.label, row.score, row.ok) == (None, None, False)
    np.testing.assert_array_equal(row.scores, [0, 0, 0])


def test_a_state_that_is_not_known_is_reported_and_not_ok() -> None:
    row = rows(row_status=np.array([[9], [0]], dtype=np.uint8))[0]
    assert (row.row_status, row.ok) == ("the row has the unknown status 9", False)


def test_without_presence_what_was_sent_is_taken_as_used() -> None:
    assert [row.presence for row in rows(presence=None)] == [("image", "audio", "text"), ()]


def test_without_a_row_status_every_row_is_ok() -> None:
    assert [row.ok for row in rows(row_status=None)] == [True, True]


def test_without_statuses_nothing_is_said_of_payloads() -> None:
    assert rows(audio_status=None)[0].status == {}


def test_a_pipeline_without_scores_has_no_labels() -> None:
    embedding = PIPELINE.model_copy(update={"task": "embedding", "labels": (), "outputs": ("embedding",)})
    row = rows_from_outputs(embedding, SENT, outputs(scores=None))[0]
    assert (row.label, row.score, row.scores.shape, row.ok) == (None, None, (0,), True)


def test_half_precision_scores_are_given_as_float32() -> None:
    assert rows(scores=SCORES.astype(np.float16))[0].scores.dtype == np.float32


def test_the_answers_of_several_requests_are_joined_in_order() -> None:
    joined = predictions_from_answers(PIPELINE, [(SENT, outputs()), (SENT, outputs(scores=SCORES[::-1]))])
    np.testing.assert_array_equal(joined.scores, np.concatenate([SCORES, SCORES[::-1]]))


@pytest.mark.parametrize(
    ("name", "shape"),
    [("scores", (2, 4)), ("scores", (1, 3)), ("presence", (2, 2)), ("text_status", (1, 1)), ("embedding", (3, 2))],
)
def test_an_answer_of_another_shape_is_not_read(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ServerUnavailableError, match=f"answered with {name} of shape"):
        rows(**{name: np.zeros(shape, dtype=np.float32)})


@pytest.mark.parametrize("name", ["scores", "embedding"])
def test_an_answer_without_what_the_pipeline_promises_is_not_read(name: str) -> None:
    with pytest.raises(ServerUnavailableError, match=f"answered without {name}"):
        rows(**{name: None})
