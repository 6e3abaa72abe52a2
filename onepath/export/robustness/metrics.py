"""What is counted of each row: whether it is right, whether its nearest neighbour is, or how far answers agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onepath.contract.robustness import TaskMetric
from onepath.export.robustness.intervals import PerRow

Answer = NDArray[np.float32]
"""Scores or embeddings `(rows, width)`."""

_BLOCK = 512  # rows whose cosines with all others are held at a time

NOTES: dict[TaskMetric, str] = {
    "accuracy": "accuracy is the share of rows whose highest score is their target's; one that is not finite is wrong",
    "nearest_neighbour_accuracy": "nearest-neighbour accuracy is the share of rows whose nearest other row, by the"
    " cosine of embeddings with the same modalities present, has the same target",
    "agreement": "agreement is with the same model's answers to the same rows with every modality: the share of rows"
    " with the same highest score, or the mean cosine of their embeddings",
}
"""What each metric is, in words."""


@dataclass(frozen=True)
class Judge:
    """Turns answers into one figure a row.

    Attributes:
        task: `classification` or `embedding`.
        targets: class index of each row; none where they are not known.
        reference: the model's answers to the rows with every modality.
    """

    task: str
    targets: Sequence[int]
    reference: Answer

    @property
    def metric(self) -> TaskMetric:
        """What answers are judged by; a single row has no neighbour."""
        if self.task == "classification" and len(self.targets):
            return "accuracy"
        return "nearest_neighbour_accuracy" if len(self.targets) > 1 else "agreement"

    def is_share(self, metric: TaskMetric) -> bool:
        """Return whether a metric's figures are 0 and 1; those of embeddings' agreement are cosines."""
        return self.task == "classification" or metric != "agreement"

    def figures(self, answer: Answer) -> PerRow:
        """Return the metric's figure of each row `(rows,)`."""
        if self.metric == "agreement":
            return self.agreement(answer)
        targets = np.asarray(self.targets)
        found = answer.argmax(axis=1) if self.metric == "accuracy" else targets[nearest_neighbours(answer)]
        return _counted((found == targets) & _finite(answer))

    def agreement(self, answer: Answer) -> PerRow:
        """Return how far each row's answer is that of the same row with every modality `(rows,)`."""
        if self.task == "classification":
            equal = answer.argmax(axis=1) == self.reference.argmax(axis=1)
            return _counted(equal & _finite(answer) & _finite(self.reference))
        cosines: PerRow = (_unit(answer) * _unit(self.reference)).sum(axis=1)
        return cosines

    def misfit(self, answer: Answer) -> str | None:
        """Return why another model's answers cannot be judged beside this one's, or None."""
        rows, width = self.reference.shape
        if len(answer) != rows:
            return f"it gives {len(answer)} rows for {rows}"
        if self.metric != "nearest_neighbour_accuracy" and answer.shape[1] != width:
            return f"it gives {answer.shape[1]} numbers a row, and the model {width}"
        return None if np.isfinite(answer).all() else "it gives numbers that are not finite"


def nearest_neighbours(embeddings: Answer) -> NDArray[np.int64]:
    """Return for each row the index of the other row with the highest cosine, the first of equal ones."""
    unit, nearest = _unit(embeddings), np.empty(len(embeddings), np.int64)
    for start in range(0, len(unit), _BLOCK):
        cosines = unit[start : start + _BLOCK] @ unit.T
        own = np.arange(len(cosines))
        cosines[own, start + own] = -np.inf
        nearest[start : start + _BLOCK] = cosines.argmax(axis=1)
    return nearest


def _counted(rows: NDArray[np.bool_]) -> PerRow:
    return rows.astype(np.float64)


def _finite(answer: Answer) -> NDArray[np.bool_]:
    """Return which rows are answers at all; argmax takes NaN for the highest score."""
    finite: NDArray[np.bool_] = np.isfinite(answer).all(axis=1)
    return finite


def _unit(embeddings: Answer) -> NDArray[np.float64]:
    """Return rows of length one; one of zeros, or that is not finite, is zeros, and its cosines are 0."""
    wide = np.where(_finite(embeddings)[:, None], embeddings.astype(np.float64), 0.0)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: NDArray[np.float64] = wide / np.where(norms == 0, 1.0, norms)
    return unit
