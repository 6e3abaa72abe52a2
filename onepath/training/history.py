"""What a training gave, epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EpochRecord:
    """What an epoch gave.

    Attributes:
        epoch: counted from 1.
        loss: mean over the training rows, while the weights were changing.
        validation: the metric on the validation rows afterwards; None without such rows.
        learning_rate: of the first group in the last step.
    """

    epoch: int
    loss: float
    validation: float | None
    learning_rate: float


@dataclass(frozen=True)
class History:
    """What a training gave; the model has the weights of the best epoch.

    Attributes:
        metric: what `validation` holds.
        epochs: all that were run.
        best_epoch: the one with the best validation, the first of equals; the last without validation rows.
        stopped_early: whether patience ended it.
    """

    metric: str
    epochs: tuple[EpochRecord, ...]
    best_epoch: int
    stopped_early: bool

    @property
    def best(self) -> EpochRecord:
        """Return the record of the best epoch."""
        return self.epochs[self.best_epoch - 1]
