"""Seeded splits of rows, stratified by class or by censoring and time bin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onepath.training.data import Dataset, Target, View, row_count, rows_at
from onepath.training.errors import TrainingError
from onepath.training.survival import SurvivalTarget

FRACTIONS = (0.7, 0.15, 0.15)


@dataclass(frozen=True, eq=False)
class Splits:
    """Rows in three parts that share none.

    Attributes:
        train: what `fit` learns from.
        validation: what it selects by.
        test: what neither of them sees; for one call of `evaluate` in the end.
    """

    train: View
    validation: View
    test: View


def split_rows(data: Dataset, *, seed: int, fractions: Sequence[float] = FRACTIONS) -> Splits:
    """Return the rows split for training, validation and test; each stratum is split in the same proportions.

    Args:
        data: rows whose target is classes, survival (strata: observed or not, and time bin) or labels (one stratum).
        seed: decides which row goes where.
        fractions: of the three parts; they sum to 1.

    Raises:
        TrainingError: the fractions are not three positive numbers of sum 1, or a part would be empty.
    """
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise TrainingError("the fractions", f"they are {tuple(fractions)}", "give three positive numbers of sum 1")
    parts = dealt(strata(data.target), fractions, np.random.default_rng(seed))
    if any(len(part) == 0 for part in parts):
        raise TrainingError("the split", f"{row_count(data)} rows leave a part empty", "give more rows")
    train, validation, test = (rows_at(data, torch.from_numpy(part)) for part in parts)
    return Splits(train, validation, test)


def strata(target: Target) -> NDArray[np.int64]:
    """Return the stratum of each row, int64 `(rows,)`."""
    if isinstance(target, SurvivalTarget):
        return _array(target.bins) * 2 + _array(target.events.long())
    return _array(target) if target.ndim == 1 else np.zeros(len(target), np.int64)


def dealt(groups: NDArray[np.int64], fractions: Sequence[float], rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Return the sorted positions of each part, each group dealt out in the same proportions.

    Rows are dealt group by group, each to the part that lacks most: every part, and every group's share of it, is
    within a row or two of its fraction.

    Args:
        groups: `(rows,)`, the stratum of each row.
        fractions: the size of each part, of sum 1.
        rng: decides the order of the groups and of the rows in them.
    """
    shuffled = rng.permutation(len(groups))
    rank = rng.permutation(int(groups.max(initial=0)) + 1)
    order = shuffled[np.argsort(rank[groups[shuffled]], kind="stable")]
    lacking, part = np.zeros(len(fractions)), np.empty(len(groups), np.int64)
    for position in order:
        lacking += fractions
        part[position] = lacking.argmax()
        lacking[part[position]] -= 1
    return [np.flatnonzero(part == index) for index in range(len(fractions))]


def _array(tensor: Tensor) -> NDArray[np.int64]:
    array: NDArray[np.int64] = tensor.cpu().numpy()
    return array
