"""Gated bilinear fusion: two gated vectors, their outer product, and a map of it to a hidden one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class GatedBilinear(nn.Module):
    """Two vectors to one, through the outer product of both, each with a 1 appended (after arXiv 1912.08937).

    Each vector is first gated by what both say together. The appended 1 keeps either vector where the other is zero.

    Args:
        first: width of the first vector.
        second: width of the second.
        width: of the result.
        rank: width that each vector is brought to before the outer product.
        dropout: in training, on gated vectors and on the product.
    """

    def __init__(self, first: int, second: int, *, width: int = 256, rank: int = 16, dropout: float = 0.25) -> None:
        super().__init__()
        self.contents = nn.ModuleList([nn.Linear(first, rank), nn.Linear(second, rank)])
        self.gates = nn.ModuleList([nn.Linear(first + second, rank) for _ in range(2)])
        self.reduced = nn.ModuleList([nn.Linear(rank, rank) for _ in range(2)])
        self.product = nn.Linear((rank + 1) ** 2, width)
        self.output = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, vectors: Sequence[Tensor], present: Tensor) -> Tensor:
        """Return the fused vectors, `(rows, width)`.

        Args:
            vectors: two, `(rows, first)` and `(rows, second)`, zeros where absent.
            present: bool `(rows, 2)`.
        """
        both = torch.cat(list(vectors), dim=1)
        here = present.to(both.dtype).unsqueeze(2).unbind(1)
        left, right = (self._extended(index, vector, both, here[index]) for index, vector in enumerate(vectors))
        outer = (left.unsqueeze(2) * right.unsqueeze(1)).flatten(1)
        hidden = torch.relu(self.product(self.dropout(outer)))
        return torch.relu(self.output(self.dropout(hidden)))

    def _extended(self, index: int, vector: Tensor, both: Tensor, here: Tensor) -> Tensor:
        """Return the gated vector, zeros where absent, and a 1: `(rows, rank + 1)`."""
        gated = torch.relu(self.contents[index](vector)) * torch.sigmoid(self.gates[index](both))
        reduced = self.dropout(torch.relu(self.reduced[index](gated)))
        return torch.cat([reduced * here, torch.ones_like(here)], dim=1)
