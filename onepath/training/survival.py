"""Discrete-time survival: follow-up times in bins, survival curves and risks from logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from onepath.training.errors import TrainingError


@dataclass(frozen=True, eq=False)
class SurvivalTarget:
    """What is known of each row's survival.

    Attributes:
        bins: int64 `(rows,)`, the time bin of the event or of the end of follow-up.
        times: float64 `(rows,)`, in the data's own unit.
        events: bool `(rows,)`, true where the event was observed and false where the row is censored.
    """

    bins: Tensor
    times: Tensor
    events: Tensor

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.bins)

    def __getitem__(self, positions: Tensor) -> SurvivalTarget:
        """Return the target of these rows."""
        return SurvivalTarget(self.bins[positions], self.times[positions], self.events[positions])

    def to(self, device: torch.device) -> SurvivalTarget:
        """Return the target on a device."""
        return SurvivalTarget(self.bins.to(device), self.times.to(device), self.events.to(device))


def time_bin_edges(times: NDArray[np.float64], events: NDArray[np.bool_], *, bins: int) -> NDArray[np.float64]:
    """Return the `bins - 1` inner edges between time bins: quantiles of the observed events' times.

    Take the edges from the training rows only, and use them for all rows.

    Args:
        times: follow-up times `(rows,)`.
        events: true where the event was observed.
        bins: how many, at least 2.

    Raises:
        TrainingError: a bin would be without an event, or the times and events do not fit.
    """
    _check_follow_up(times, events)
    observed = np.asarray(times, np.float64)[np.asarray(events, bool)]
    distinct = len(np.unique(observed))
    edges = np.quantile(observed, np.arange(1, bins) / bins) if distinct else np.empty(0)
    if bins < 2 or np.bincount(np.digitize(observed, edges), minlength=bins).min() == 0:
        raise TrainingError(
            f"{bins} time bins",
            f"the {len(observed)} observed events have {distinct} distinct times, which leaves a bin without an event",
            "ask for at least 2 bins, and for fewer where times repeat or lie far apart",
        )
    return edges


def survival_target(
    times: NDArray[np.float64], events: NDArray[np.bool_], edges: NDArray[np.float64]
) -> SurvivalTarget:
    """Return the target of rows: bin j holds the times from edge j - 1 (inclusive) to edge j.

    Raises:
        TrainingError: a time is negative or not finite, the times and events do not fit, or the edges do not rise.
    """
    _check_follow_up(times, events)
    if not (np.diff(edges) > 0).all():
        raise TrainingError("the edges", "they do not rise", "make them with time_bin_edges")
    bins = np.digitize(times, edges).astype(np.int64)
    return SurvivalTarget(
        torch.from_numpy(bins),
        torch.from_numpy(np.array(times, np.float64)),
        torch.from_numpy(np.array(events, bool)),
    )


def log_survival(logits: Tensor) -> Tensor:
    """Return ln S `(rows, bins)`: S of a bin is the probability of no event up to its end.

    Args:
        logits: `(rows, bins)`, whose sigmoids are the hazards.
    """
    return functional.logsigmoid(-logits).cumsum(dim=1)


def survival_risk(logits: Tensor) -> Tensor:
    """Return the risk `(rows,)`: minus the sum of the survival curve, so that a higher one means an earlier event."""
    return -log_survival(logits).exp().sum(dim=1)


def _check_follow_up(times: NDArray[np.float64], events: NDArray[np.bool_]) -> None:
    if np.ndim(times) != 1 or np.shape(times) != np.shape(events):
        counts = f"{np.size(times)} times and {np.size(events)} events"
        raise TrainingError("the follow-up", f"it has {counts}", "give one of each a row, both with one axis")
    if not (np.isfinite(times).all() and (np.asarray(times) >= 0).all()):
        raise TrainingError("the follow-up times", "one is negative or not finite", "leave such rows out")
