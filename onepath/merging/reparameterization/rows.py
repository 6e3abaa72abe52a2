"""Some of a weight's output rows: reading them, and adding to them."""

from __future__ import annotations

import torch
from torch import Tensor

Rows = tuple[int, int]
"""Output features of a layer, from the first to before the last."""


def taken_rows(weight: Tensor, rows: Rows | None, *, axis: int = 0) -> Tensor:
    """Return a view of the weight's rows along its output axis; of all of them if `rows` is None."""
    return weight if rows is None else weight.narrow(axis, rows[0], rows[1] - rows[0])


def add_to_rows(weight: Tensor, addend: Tensor, rows: Rows | None, *, axis: int = 0) -> Tensor:
    """Return the weight with the addend added to its rows along its output axis, in the wider of the two precisions.

    >>> add_to_rows(torch.zeros(3, 1), torch.ones(1, 1), (1, 2)).flatten().tolist()
    [0.0, 1.0, 0.0]
    """
    if rows is None:
        return weight + addend
    sizes = [rows[0], rows[1] - rows[0], weight.shape[axis] - rows[1]]
    before, changed, after = torch.split(weight, sizes, dim=axis)
    changed = changed + addend
    return torch.cat([before.to(changed.dtype), changed, after.to(changed.dtype)], dim=axis)
