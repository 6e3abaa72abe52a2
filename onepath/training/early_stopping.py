"""The weights of the best epoch, and when to stop waiting for a better one."""

from __future__ import annotations

import copy
import math
from typing import Literal

from torch import nn

Mode = Literal["min", "max"]


def is_better(value: float, other: float, mode: Mode) -> bool:
    """Return whether a value is strictly better than another; NaN never is."""
    return value < other if mode == "min" else value > other


class EarlyStopping:
    """Keeps a copy of a model's best weights, at first those that it has now.

    Args:
        model: whose weights are kept.
        mode: whether a lower or a higher value is better.
        patience: how many epochs without a better one are waited for; without it, all.

    Attributes:
        best_epoch: the epoch of the kept weights, 0 before the first.
        best_value: its value.
    """

    def __init__(self, model: nn.Module, *, mode: Mode, patience: int | None) -> None:
        self._model = model
        self._mode = mode
        self._patience = patience
        self._keep(0, None)

    def observe(self, epoch: int, value: float | None) -> bool:
        """Keep the weights if they are the best so far, and return whether to stop.

        Args:
            epoch: counted from 1.
            value: of the metric on validation rows; without one, the last epoch counts as the best.
        """
        if value is None or self.improves(value):
            self._keep(epoch, value)
        return self._patience is not None and epoch - self.best_epoch >= self._patience

    def improves(self, value: float) -> bool:
        """Return whether a value is better than the best so far; NaN never is."""
        if self.best_value is None:
            return not math.isnan(value)
        return is_better(value, self.best_value, self._mode)

    def restore(self) -> None:
        """Give the model the kept weights."""
        self._model.load_state_dict(self._weights)

    def _keep(self, epoch: int, value: float | None) -> None:
        self.best_epoch = epoch
        self.best_value = value
        self._weights = copy.deepcopy(self._model.state_dict())  # a plain state_dict would go on changing
