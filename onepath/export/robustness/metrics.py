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

NOTES: dict[TaskMetric, str] = {
    "accuracy": "accuracy is the share of rows whose highest score is their target's",
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
        return _counted(found == targets)

    def agreement(self, answer: Answer) -> PerRow:
        """Return how far each row's answer is that of the same row with every modality `(rows,)`."""
        if self.task == "classification":
            return _counted(answer.argmax(axis=1) == self.reference.argmax(axis=1))
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
    unit = _unit(embeddings)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    nearest: NDArray[np.int64] = cosines.argmax(axis=1)
    return nearest


def _counted(rows: NDArray[np.bool_]) -> PerRow:
    return rows.astype(np.float64)


def _unit(embeddings: Answer) -> NDArray[np.float64]:
    """Return rows of length one; a row of zeros stays as it is, and its cosines are 0."""
    wide = embeddings.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: NDArray[np.float64] = wide / np.where(norms == 0, 1.0, norms)
    return unit
