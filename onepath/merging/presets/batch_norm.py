"""Batch normalisation that can be exported for any number of rows, and trained with a single one."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BatchNorm(nn.Module):
    """Batch normalisation whose evaluation is written out: torch's own asks whether there are rows, which no graph can.

    Args:
        width: of the last axis.
        affine: whether a trained factor and offset follow.
        eps: added to the variance.
    """

    def __init__(self, width: int, *, affine: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        self.statistics = nn.BatchNorm1d(width, affine=affine, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(rows, width)` from the same: by the rows' own mean and variance in training, then by those kept.

        A single row has no variance; in training too it is normalised by what was kept, which it does not change.
        """
        kept = self.statistics
        if self.training and x.shape[0] > 1:
            normalised: Tensor = kept(x)
            return normalised
        mean, variance = kept.get_buffer("running_mean"), kept.get_buffer("running_var")
        factor = torch.rsqrt(variance + kept.eps)
        if not kept.affine:
            return (x - mean) * factor
        return (x - mean) * (kept.weight * factor) + kept.bias
