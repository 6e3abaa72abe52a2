"""What a model is worth on held-out rows: accuracy, AUC, average precision, concordance, and their uncertainty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onepath.contract.errors import MissingExtraError
from onepath.training.errors import TrainingError, UndefinedMetricError

Scores = NDArray[np.float64]
Flags = NDArray[np.bool_]

TIED_RISK = 1e-8
"""Risks that differ by no more count as tied."""


def accuracy(scores: Scores, classes: NDArray[np.int64]) -> float:
    """Return the fraction of rows whose highest score is at their class.

    Args:
        scores: `(rows, classes)`.
        classes: `(rows,)`.

    Raises:
        UndefinedMetricError: there is no row.
    """
    if not len(classes):
        raise UndefinedMetricError("accuracy", "there is no row", "give at least one")
    return float((scores.argmax(axis=1) == classes).mean())


def auc(scores: Scores, members: Flags) -> float:
    """Return the area under the ROC curve, the mean over classes of one against the rest.

    Classes that no row or every row belongs to have no curve and are left out.

    Args:
        scores: `(rows, classes)`; the ranks within a class count, so give probabilities and not hard predictions.
        members: `(rows, classes)`, true where a row belongs to a class.

    Raises:
        UndefinedMetricError: no class has both members and others.
    """
    defined = _mixed(members)
    if not defined.any():
        raise UndefinedMetricError("auc", "the rows are all of one class", "give rows of at least two classes")
    return float(np.mean([_area(scores[:, column], members[:, column]) for column in np.flatnonzero(defined)]))


def mean_average_precision(scores: Scores, members: Flags) -> float:
    """Return the mean over classes of the average precision; classes without members are left out.

    Args:
        scores: `(rows, classes)`.
        members: `(rows, classes)`, true where a row belongs to a class.

    Raises:
        UndefinedMetricError: no class has a member.
    """
    defined = members.any(axis=0)
    if not defined.any():
        raise UndefinedMetricError("mean_average_precision", "no class has a member", "give labelled rows")
    columns = np.flatnonzero(defined)
    return float(np.mean([_average_precision(scores[:, column], members[:, column]) for column in columns]))


def concordance_index(risks: Scores, times: NDArray[np.float64], events: Flags) -> float:
    """Return the fraction of comparable pairs in which the row of the earlier event has the higher risk.

    Args:
        risks: `(rows,)`.
        times: `(rows,)`.
        events: `(rows,)`, true where the event was observed.

    Raises:
        UndefinedMetricError: no two rows are comparable.
        MissingExtraError: scikit-survival is not installed.
    """
    try:
        from sksurv.exceptions import NoComparablePairException
        from sksurv.metrics import concordance_index_censored
    except ImportError as error:
        raise MissingExtraError("scikit-survival", "survival", purpose="the concordance index") from error
    if not events.any():
        raise UndefinedMetricError("concordance_index", "every row is censored", "give rows with observed events")
    none = UndefinedMetricError("concordance_index", "no two rows are comparable", "give more rows")
    if len(events) < 2:
        raise none
    try:
        with np.errstate(invalid="ignore"):  # events of one time only give 0/0
            found = float(concordance_index_censored(events, times, risks, tied_tol=TIED_RISK)[0])
    except NoComparablePairException as error:
        raise none from error
    if np.isnan(found):
        raise none
    return found


@dataclass(frozen=True)
class Interval:
    """A metric and how sure one can be of it.

    Attributes:
        value: on all rows.
        low: lower end of the interval.
        high: upper end.
        level: the share of resamples between them.
        resamples: how many of them defined the metric.
    """

    value: float
    low: float
    high: float
    level: float
    resamples: int


def bootstrap_interval(
    value_of: Callable[[NDArray[np.int64]], float],
    rows: int,
    *,
    seed: int,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Return a metric with its percentile bootstrap interval over rows.

    Args:
        value_of: positions `(rows,)`, some repeated, to the metric of those rows.
        rows: how many there are.
        seed: of the resampling.
        resamples: how many; those that do not define the metric are left out.
        level: the share of resamples that the interval holds.

    Raises:
        TrainingError: `resamples` is negative or `level` not between 0 and 1.
        UndefinedMetricError: all rows together, or more than half of the resamples, do not define the metric.
    """
    if resamples < 0 or not 0 < level < 1:
        raise TrainingError(f"level {level} of {resamples} resamples", "there is none", "give a level between 0 and 1")
    value = value_of(np.arange(rows))
    rng = np.random.default_rng(seed)
    found: list[float] = []
    for _ in range(resamples):
        try:
            found.append(value_of(rng.integers(0, rows, rows)))
        except UndefinedMetricError as error:
            undefined = error
    if 2 * len(found) < resamples:
        raise undefined
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2]) if found else (value, value)
    return Interval(value, float(low), float(high), level, len(found))


def _mixed(members: Flags) -> Flags:
    flags: Flags = members.any(axis=0) & ~members.all(axis=0)
    return flags


def _area(scores: Scores, members: Flags) -> float:
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]  # tied scores share their mean rank
    inside = int(members.sum())
    return float((ranks[members].sum() - inside * (inside + 1) / 2) / (inside * (len(members) - inside)))


def _average_precision(scores: Scores, members: Flags) -> float:
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(members[order])
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # the end of each run of tied scores
    gained = np.diff(found[last], prepend=0)
    return float((gained * found[last] / (last + 1)).sum() / found[-1])
