"""How one vector per modality becomes one vector: side by side, or multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.baselines.bilinear import GatedBilinear

FusionMethod = Literal["concat", "bilinear"]


class Concatenation(nn.Module):
    """Vectors and their presence side by side, through a hidden layer.

    Args:
        widths: of the vectors.
        width: of the result.
        dropout: in training.
    """

    def __init__(self, widths: Sequence[int], *, width: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(sum(widths) + len(widths), width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, vectors: Sequence[Tensor], present: Tensor) -> Tensor:
        """Return the fused vectors, `(rows, width)`.

        Args:
            vectors: each `(rows, …)`, zeros where absent.
            present: bool `(rows, vectors)`.
        """
        joined = torch.cat([*vectors, present.to(vectors[0].dtype)], dim=1)
        return self.dropout(torch.relu(self.hidden(joined)))  # type: ignore[no-any-return]


def fusion_from_method(method: FusionMethod, widths: Sequence[int], *, width: int, dropout: float) -> nn.Module:
    """Return a fusion, `(vectors, present) -> (rows, width)`.

    Args:
        method: its name; `bilinear`, see `GatedBilinear`, is for exactly two vectors.
        widths: of the vectors.
        width: of the result.
        dropout: in training.

    Raises:
        UnsupportedModuleError: the method is unknown, or does not fit the number of vectors.
    """
    if method not in ("concat", "bilinear"):
        raise UnsupportedModuleError(f"fusion by {method!r}", "it is not known", "use concat or bilinear")
    if method == "concat":
        return Concatenation(widths, width=width, dropout=dropout)
    if len(widths) != 2:
        raise UnsupportedModuleError(
            f"bilinear fusion of {len(widths)} modalities", "the outer product is of two vectors", "use concat"
        )
    return GatedBilinear(*widths, width=width, dropout=dropout)
