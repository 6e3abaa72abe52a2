"""Ŵ = W + λ·W': the weight of a layer as the sum of its own and a scaled auxiliary's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from onepath.merging.reparameterization.rows import Rows, add_to_rows

if TYPE_CHECKING:
    from typing_extensions import Self


class CrossModalWeight(nn.Module):
    """A parametrisation that adds a scaled auxiliary weight; several on one weight add up.

    Being on the weight rather than on the layer's call, it also acts where code reads the weight directly, as the fast
    path of `nn.TransformerEncoderLayer` does. After M2PT (arXiv 2401.14405).

    Args:
        auxiliary: of the shape of the weight, or of its rows; in the weight's precision and on its device.
        scale: λ, from `new_scale`; several parametrisations that are given one share it.
        trainable: whether the auxiliary is a parameter, or a buffer.
        plain_order: names of the module's parameters as they were before anything was attached.
        rows: the output rows that it is added to; all of them without it.
        axis: the weight's output axis, that the rows are counted along.
        name: what reports call the model that the auxiliary is of.

    Attributes:
        scale: λ, `(1,)`, 0 at the start, at least float32, also after `.half()` of the model, which does not round it.
            It is a vector, so that rules that spare vectors from weight decay spare it.
    """

    auxiliary: Tensor

    def __init__(
        self,
        auxiliary: Tensor,
        *,
        scale: nn.Parameter,
        trainable: bool,
        plain_order: tuple[str, ...],
        rows: Rows | None = None,
        axis: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.plain_order = plain_order
        self.rows = rows
        self.axis = axis
        self.name = name
        if trainable:
            self.auxiliary = nn.Parameter(auxiliary)
        else:
            self.register_buffer("auxiliary", auxiliary)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the sum, in the weight's precision; products and sum are rounded once if that is below float32."""
        return self.added_to(weight).to(weight.dtype)

    def added_to(self, weight: Tensor) -> Tensor:
        """Return the sum in the wider of the weight's precision and the scale's.

        A product and a sum, not one fused operation, which would differ in the last bit.
        """
        return add_to_rows(weight, self.scale * self.auxiliary, self.rows, axis=self.axis)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast as every module does, but keep the scale from becoming narrower than float32."""
        scale = self.scale.detach()
        gradient = None if self.scale.grad is None else self.scale.grad.clone()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if torch.promote_types(self.scale.dtype, torch.float32) != self.scale.dtype:
            device = self.scale.device
            self.scale.grad = None
            self.scale.data = scale.to(device)
            self.scale.grad = None if gradient is None else gradient.to(device)
        return self


def new_scale(weight: Tensor) -> nn.Parameter:
    """Return a λ of 0 for a weight, `(1,)`, on its device, in its precision or float32 if that is narrower."""
    wide = torch.promote_types(weight.dtype, torch.float32)
    return nn.Parameter(torch.zeros(1, dtype=wide, device=weight.device))
