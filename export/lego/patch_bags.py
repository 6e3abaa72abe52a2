"""The encoder of pictures: patches as a bag, in which patches of nothing but paper are left out."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from onepath.merging.encoders import AttentionMIL

CELL = 4
"""Side of a cell in pixels; a patch is two cells by two, and overlaps its neighbours by one."""
_LEVELS = 255
_PAPER = 0.12  # a patch with less mean ink is paper; noise alone has about 0.06


class PatchBags(nn.Module):
    """A picture as a bag of overlapping patches, pooled by attention: uint8 `(rows, 1, side, side)` to features.

    An instance is a patch's pixels and, as a bag has no order, its place.

    Args:
        side: of the picture in pixels, a multiple of `CELL`.
        hidden: width of an embedded instance.
        feature_dim: width of the features.
        dropout: in training.
    """

    def __init__(self, side: int, *, hidden: int, feature_dim: int, dropout: float) -> None:
        super().__init__()
        self.cells = side // CELL
        places = (self.cells - 1) ** 2
        inputs = 4 * CELL**2 + places
        self.pooling = AttentionMIL(
            inputs, hidden=hidden, attention=hidden // 2, feature_dim=feature_dim, dropout=dropout
        )
        self.feature_dim = feature_dim

    def forward(self, pixels: Tensor) -> Tensor:
        """Return features `(rows, feature_dim)`."""
        patches = self.patches(pixels)
        places = torch.eye(patches.shape[1], dtype=patches.dtype, device=patches.device)
        instances = torch.cat([2 * patches - 0.5, places.expand(patches.shape[0], -1, -1)], dim=2)
        return cast(Tensor, self.pooling(instances, self.inked(patches)))

    def patches(self, pixels: Tensor) -> Tensor:
        """Return overlapping patches, `(rows, patches, pixels)`, 0 for paper and 1 for ink."""
        ink = pixels.to(self.pooling.score.weight.dtype) / _LEVELS
        grid = ink.reshape(-1, self.cells, CELL, self.cells, CELL).transpose(2, 3).flatten(3)
        corners = [grid[:, i : self.cells - 1 + i, j : self.cells - 1 + j] for i in (0, 1) for j in (0, 1)]
        return torch.cat(corners, dim=3).flatten(1, 2)

    def inked(self, patches: Tensor) -> Tensor:
        """Return which patches are in the bag, bool `(rows, patches)`."""
        return patches.mean(2) > _PAPER
