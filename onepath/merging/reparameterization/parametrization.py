"""Ŵ = W + λ·W': the weight of a layer as the sum of its own and a scaled auxiliary's."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CrossModalWeight(nn.Module):
    """A parametrisation that adds a scaled auxiliary weight; several on one weight add up.

    Being on the weight rather than on the layer's call, it also acts where code reads the weight directly, as the fast
    path of `nn.TransformerEncoderLayer` does. After M2PT (arXiv 2401.14405).

    Args:
        auxiliary: of the weight's shape, already a copy, in the weight's precision and on its device.
        trainable: whether the auxiliary is a parameter, or a buffer.
        plain_order: names of the module's parameters as they were before anything was attached.

    Attributes:
        scale: λ, `(1,)`, 0 at the start, at least float32. It is a vector, so that rules that spare vectors from weight
            decay spare it.
    """

    auxiliary: Tensor

    def __init__(self, auxiliary: Tensor, *, trainable: bool, plain_order: tuple[str, ...]) -> None:
        super().__init__()
        wide = torch.promote_types(auxiliary.dtype, torch.float32)
        self.scale = nn.Parameter(torch.zeros(1, dtype=wide, device=auxiliary.device))
        self.plain_order = plain_order
        if trainable:
            self.auxiliary = nn.Parameter(auxiliary)
        else:
            self.register_buffer("auxiliary", auxiliary)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the sum, in the weight's precision; products and sum are rounded once if that is below float32."""
        return (weight + self.scale * self.auxiliary).to(weight.dtype)
