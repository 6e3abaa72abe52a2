"""Figures of a sample of rows with 95 % confidence intervals: shares, means, and differences row by row."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from onepath.contract.robustness import Estimate

PerRow = NDArray[np.float64]
"""One figure a row `(rows,)`: 1 or 0 where a row is right or wrong, or a cosine."""

SHARES = (
    "shares have Wilson's score interval, and their differences, which are taken row by row, Bonett and Price's"
    " adjusted Wald interval for paired proportions"
)
MEANS = "means of cosines, and of their differences, which are taken row by row, have Student's t interval"

_LEVEL = 0.95
_Z = NormalDist().inv_cdf((1 + _LEVEL) / 2)
_DIGITS = 6  # more would be the rounding of one machine's sums
_FEWEST = 5  # rows of which a standard deviation says something


def estimate(figures: PerRow, *, is_share: bool) -> Estimate:
    """Return the mean of one figure a row, with its interval.

    Args:
        figures: `(rows,)`, each 0 or 1, or else in -1 to 1.
        is_share: whether they are 0 and 1.
    """
    mean, rows = float(figures.mean()), len(figures)
    return _rounded(mean, *(wilson(int(figures.sum()), rows) if is_share else student(figures, bound=1.0)))


def difference(figures: PerRow, others: PerRow, *, is_share: bool) -> Estimate:
    """Return the mean of figures less others of the same rows, with the interval of paired samples.

    Args:
        figures: `(rows,)`, each 0 or 1, or else in -1 to 1.
        others: the same.
        is_share: whether they are 0 and 1.
    """
    apart = figures - others
    if is_share:
        ends = bonett_price(int((apart > 0).sum()), int((apart < 0).sum()), len(apart))
    else:
        ends = student(apart, bound=2.0)
    return _rounded(float(apart.mean()), *ends)


def wilson(successes: int, rows: int) -> tuple[float, float]:
    """Return Wilson's score interval of a share (Wilson 1927).

    >>> [round(end, 4) for end in wilson(0, 10)]
    [0.0, 0.2775]
    """
    total = rows + _Z**2
    centre = (successes + _Z**2 / 2) / total
    half = _Z / total * sqrt(successes * (rows - successes) / rows + _Z**2 / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def bonett_price(gained: int, lost: int, rows: int) -> tuple[float, float]:
    """Return the adjusted Wald interval of the difference of two shares of the same rows (Bonett and Price 2012).

    Where few rows differ it is wider than it need be, and never of no width at all.

    Args:
        gained: rows that only the first has right.
        lost: rows that only the second has right.
        rows: all of them.
    """
    more, less, total = gained + 1, lost + 1, rows + 2
    centre = (more - less) / total
    half = _Z / total * sqrt(more + less - (more - less) ** 2 / total)
    return max(-1.0, centre - half), min(1.0, centre + half)


def student(figures: PerRow, *, bound: float) -> tuple[float, float]:
    """Return Student's t interval of a mean, within `-bound` and `bound`; all of that where there are too few rows."""
    if len(figures) < _FEWEST:
        return -bound, bound
    half = student_quantile(len(figures) - 1) * float(figures.std(ddof=1)) / sqrt(len(figures))
    mean = float(figures.mean())
    return max(-bound, mean - half), min(bound, mean + half)


def student_quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t with 4 or more degrees of freedom, to 0.3 %.

    Its expansion about the normal quantile: Abramowitz and Stegun, 26.7.5.
    """
    terms = (
        (_Z**3 + _Z) / 4,
        (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / 96,
        (3 * _Z**7 + 19 * _Z**5 + 17 * _Z**3 - 15 * _Z) / 384,
    )
    return _Z + sum(term / float(freedom) ** power for power, term in enumerate(terms, start=1))


def _rounded(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=round(value, _DIGITS), low=round(low, _DIGITS), high=round(high, _DIGITS))
