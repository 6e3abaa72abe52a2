"""Choosing row by row, by what a row has."""

from __future__ import annotations

import torch
from torch import Tensor

from onepath.merging.lego.fourier import Spectrum


def wide(per_row: Tensor, like: Tensor) -> Tensor:
    """Return values `(rows, …)` with as many axes as `like`, the new ones of size 1 and last."""
    return per_row.reshape(*per_row.shape, *[1] * (like.ndim - per_row.ndim))


def chosen(here: Tensor, new: Spectrum, old: Spectrum) -> Spectrum:
    """Return the rows of `new` where `here`, bool `(rows,)`, and those of `old` elsewhere."""
    return Spectrum(*(torch.where(wide(here, a), a, b) for a, b in zip(new, old, strict=True)))
