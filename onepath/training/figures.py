"""Numbers over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Figure:
    """A number over seeds.

    Attributes:
        mean: of the seeds.
        std: standard deviation of the seeds as a sample; 0 for one seed.
        values: one a seed, in the order of the seeds.
    """

    mean: float
    std: float
    values: tuple[float, ...]


def figure(values: Sequence[float]) -> Figure:
    """Return a number over seeds.

    >>> figure([1.0, 3.0])
    Figure(mean=2.0, std=1.4142135623730951, values=(1.0, 3.0))
    """
    return Figure(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0, tuple(values))
