"""Learning rates: a linear warm-up, then a cosine, a constant, or halving when validation stops to improve."""

from __future__ import annotations

import math
from typing import Literal

from torch.optim import Optimizer

Kind = Literal["cosine", "plateau", "constant"]


def warm_up_factor(step: int, warm_up_steps: int) -> float:
    """Return the share of the learning rate in the warm-up, which ends at 1.

    >>> [warm_up_factor(step, 4) for step in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """
    return min(1.0, (step + 1) / warm_up_steps) if warm_up_steps else 1.0


def cosine_factor(step: int, *, warm_up_steps: int, steps: int, final: float) -> float:
    """Return the share of the learning rate after the warm-up: half a cosine from 1 to `final` at the last step.

    Args:
        step: counted from 0.
        warm_up_steps: steps before the cosine begins.
        steps: of the whole training.
        final: the share at the end.
    """
    if step < warm_up_steps:
        return 1.0
    progress = min(1.0, (step - warm_up_steps) / max(1, steps - 1 - warm_up_steps))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


class LearningRate:
    """Sets the learning rates of an optimiser before each step; every group keeps its own highest rate.

    Args:
        optimiser: whose groups' rates at this moment are the highest ones.
        kind: what follows the warm-up.
        steps: of the whole training.
        warm_up_steps: in which the rate rises linearly.
        final: share of the rate at the end of a cosine.
        patience: epochs without improvement that a plateau lets pass before the next one halves the rate.
    """

    def __init__(
        self, optimiser: Optimizer, *, kind: Kind, steps: int, warm_up_steps: int, final: float, patience: int
    ) -> None:
        self._optimiser = optimiser
        self._highest = [group["lr"] for group in optimiser.param_groups]
        self._kind, self._steps, self._warm_up_steps = kind, steps, warm_up_steps
        self._final, self._patience = final, patience
        self._share, self._waited = 1.0, 0

    def set(self, step: int) -> float:
        """Set the rates for a step, counted from 0, and return the share of the highest that they are."""
        share = self._share * warm_up_factor(step, self._warm_up_steps)
        if self._kind == "cosine":
            share *= cosine_factor(step, warm_up_steps=self._warm_up_steps, steps=self._steps, final=self._final)
        for group, highest in zip(self._optimiser.param_groups, self._highest, strict=True):
            group["lr"] = highest * share
        return share

    def end_epoch(self, *, improved: bool) -> None:
        """Take note of an epoch; a plateau that lasted longer than its patience halves the rates."""
        self._waited = 0 if improved else self._waited + 1
        if self._kind == "plateau" and self._waited > self._patience:
            self._share, self._waited = self._share / 2, 0
