"""Reading answers: from output arrays to one prediction a row. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from onepath.clients.cards import SCORES
from onepath.clients.transport import Arrays
from onepath.contract.deployment import PipelineCard
from onepath.contract.errors import ServerUnavailableError
from onepath.contract.presence import ROW_OK, ROW_STATUS_TEXT, pattern_from_presence
from onepath.contract.status import Status, status_from_bytes
from onepath.contract.tensors import PRESENCE, ROW_STATUS, status_name


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer for one row.

    Attributes:
        label: the label of the highest score; None for a row that is not ok, or a pipeline without scores.
        score: that label's probability, in [0, 1]; None where `label` is.
        scores: float32 `(labels,)`, probabilities; zeros for a row that is not ok, empty for a pipeline without scores.
        outputs: the pipeline's other tensors of this row, such as `embedding`.
        presence: the modalities that were used, in the pipeline's order.
        status: why a payload was not used, for those modalities that have something to say.
        row_status: why the row has no answer; empty for a row that is ok.
        ok: whether the row has an answer.
    """

    label: str | None
    score: float | None
    scores: NDArray[np.float32]
    outputs: dict[str, NDArray[Any]] = field(repr=False)  # Any: each output has its own type
    presence: tuple[str, ...]
    status: dict[str, Status]
    row_status: str
    ok: bool


@dataclass(frozen=True, eq=False)
class Predictions(Sequence[Prediction]):
    """The answers of one call, in the order of its rows.

    Attributes:
        rows: one prediction a row.
        scores: float32 `(rows, labels)`; `(rows, 0)` for a pipeline without scores.
        bundle_id: the 64 digits of the id of the bundle that the pipeline serves; empty where the server does not say.
    """

    rows: tuple[Prediction, ...]
    scores: NDArray[np.float32] = field(repr=False)
    bundle_id: str

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Prediction, ...]: ...
    def __getitem__(self, index: int | slice) -> Prediction | tuple[Prediction, ...]:
        """Return one row's prediction, or a tuple of several."""
        return self.rows[index]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)


def predictions_from_answers(card: PipelineCard, answers: Iterable[tuple[Arrays, Arrays]]) -> Predictions:
    """Return the predictions of one call, whose rows were sent in one or more requests.

    Args:
        card: what the pipeline gives.
        answers: the inputs and the outputs of each request, in order.

    Raises:
        ServerUnavailableError: an answer does not have the shape that the card promises.
    """
    rows = [row for sent, outputs in answers for row in rows_from_outputs(card, sent, outputs)]
    scores = np.stack([row.scores for row in rows]) if rows else np.zeros((0, len(card.labels)), dtype=np.float32)
    return Predictions(rows=tuple(rows), scores=scores, bundle_id=card.bundle_id)


def rows_from_outputs(card: PipelineCard, sent: Arrays, outputs: Arrays) -> list[Prediction]:
    """Return the predictions of one request.

    A server that does not say which modalities it used, or what became of a row, is taken to have used what was sent.

    Args:
        card: what the pipeline gives.
        sent: the request's BYTES inputs `(rows, 1)`.
        outputs: the answer's arrays, each `(rows, ...)`.

    Raises:
        ServerUnavailableError: an array is missing, or has another shape than the card promises.
    """
    rows = len(next(iter(sent.values())))
    _check_shapes(card, rows, outputs)
    return [_row(card, row, sent=sent, outputs=outputs) for row in range(rows)]


def _row(card: PipelineCard, row: int, *, sent: Arrays, outputs: Arrays) -> Prediction:
    state = int(outputs[ROW_STATUS][row, 0]) if ROW_STATUS in outputs else ROW_OK
    ok = state == ROW_OK
    scores = outputs[SCORES][row].astype(np.float32) if SCORES in outputs else np.zeros(0, dtype=np.float32)
    best = int(scores.argmax()) if ok and scores.size else None
    return Prediction(
        label=None if best is None else _label(card, best),
        score=None if best is None else float(scores[best]),
        scores=scores,
        outputs={name: outputs[name][row] for name in card.outputs if name != SCORES and name in outputs},
        presence=_presence(card, row, sent=sent, outputs=outputs),
        status=_statuses(card, row, outputs),
        row_status=ROW_STATUS_TEXT.get(state, f"the row has the unknown status {state}"),
        ok=ok,
    )


def _label(card: PipelineCard, index: int) -> str:
    return card.labels[index] if card.labels else str(index)


def _presence(card: PipelineCard, row: int, *, sent: Arrays, outputs: Arrays) -> tuple[str, ...]:
    names = [modality.name for modality in card.modalities]
    if PRESENCE in outputs:
        return pattern_from_presence(outputs[PRESENCE][row].tolist(), names)
    return tuple(name for name in names if sent[name][row, 0])


def _statuses(card: PipelineCard, row: int, outputs: Arrays) -> dict[str, Status]:
    said = {
        modality.name: status_from_bytes(outputs[status_name(modality.name)][row, 0])
        for modality in card.modalities
        if status_name(modality.name) in outputs
    }
    return {name: status for name, status in said.items() if status is not None}


def _check_shapes(card: PipelineCard, rows: int, outputs: Arrays) -> None:
    expected: dict[str, tuple[int, ...]] = {ROW_STATUS: (rows, 1), PRESENCE: (rows, len(card.modalities))}
    expected |= {status_name(modality.name): (rows, 1) for modality in card.modalities}
    missing = [name for name in card.outputs if name not in outputs]
    if missing:
        raise ServerUnavailableError(
            f"the server answered without {missing[0]}, which the pipeline promises; deploy it again", output=missing[0]
        )
    if card.labels:
        expected[SCORES] = (rows, len(card.labels))
    for name, array in outputs.items():
        wanted = expected.get(name, (rows, *array.shape[1:]))
        if array.shape != wanted:
            raise ServerUnavailableError(
                f"the server answered with {name} of shape {array.shape} instead of {wanted}; if a new version of the "
                f"pipeline has just been published, call again, else deploy it again",
                output=name,
            )
