"""W + scale·B·A as the weight of a layer, and b + δb as its bias."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from onepath.merging.adapters.low_rank import LowRankAdapter, low_rank_product, scale_from_alpha, wide_precision


class LowRankWeight(nn.Module):
    """A parametrisation that adds scale·B·A to a weight; several on one weight add up.

    It is on the weight, and not a module around the layer, because much code never calls the layer that it uses:
    `nn.MultiheadAttention` reads its packed `in_proj_weight` and the weight of its `out_proj`, and the fast path of
    `nn.TransformerEncoderLayer` reads those of `linear1` and `linear2`. A module around the layer is passed by there
    in silence, or breaks. The price is a product B·A of the weight's size at each call in training; folded, there is
    none. Dropout of the adapter's input therefore acts on whole inputs, for all rows of a call alike.

    Args:
        adapter: whose A and B are used as they are.
        trainable: whether they take a gradient.
        plain_order: names of the module's parameters as they were before anything was attached.
        axis: the weight's output axis, 1 where the weight is kept transposed.

    Attributes:
        lora_A: A `(rank, inputs, …)`.
        lora_B: B `(outputs, rank)`.
    """

    def __init__(
        self, adapter: LowRankAdapter, *, trainable: bool, plain_order: tuple[str, ...], axis: int = 0
    ) -> None:
        super().__init__()
        self.plain_order = plain_order
        self.alpha = float(adapter.rank if adapter.alpha is None else adapter.alpha)
        self.rank_stabilized = adapter.rank_stabilized
        self.dropout = adapter.dropout
        self.axis = axis
        self.lora_A = nn.Parameter(adapter.a, requires_grad=trainable)
        self.lora_B = nn.Parameter(adapter.b, requires_grad=trainable)

    @property
    def rank(self) -> int:
        """Rows of A."""
        return self.lora_A.shape[0]

    @property
    def scale(self) -> float:
        """α / rank, or α / √rank."""
        return scale_from_alpha(self.alpha, self.rank, self.rank_stabilized)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the sum in the weight's precision, to which it is rounded once."""
        return self.added_to(weight).to(weight.dtype)

    def added_to(self, weight: Tensor) -> Tensor:
        """Return W + scale·B·A in at least float32."""
        update = self.scale * low_rank_product(self._seen_inputs(), self.lora_B)
        return weight.to(wide_precision(weight, update)) + (update.t() if self.axis else update)

    def extra_repr(self) -> str:
        """Return the sizes and settings."""
        return f"rank={self.rank}, scale={self.scale:g}, dropout={self.dropout}"

    def _seen_inputs(self) -> Tensor:
        if not (self.training and self.dropout):
            return self.lora_A
        inputs = self.lora_A.new_ones(1, self.lora_A.shape[1], *(1,) * (self.lora_A.ndim - 2))
        return self.lora_A * functional.dropout(inputs, self.dropout)


class ShiftedBias(nn.Module):
    """A parametrisation that adds δb to a bias; several on one bias add up.

    Args:
        shift: δb, used as it is.
        trainable: whether it takes a gradient.
        plain_order: names of the module's parameters as they were before anything was attached.
    """

    def __init__(self, shift: Tensor, *, trainable: bool, plain_order: tuple[str, ...]) -> None:
        super().__init__()
        self.plain_order = plain_order
        self.shift = nn.Parameter(shift, requires_grad=trainable)

    def forward(self, bias: Tensor) -> Tensor:
        """Return the sum in the bias's precision, to which it is rounded once."""
        return self.added_to(bias).to(bias.dtype)

    def added_to(self, bias: Tensor) -> Tensor:
        """Return b + δb in at least float32."""
        wide = wide_precision(bias, self.shift)
        return bias.to(wide) + self.shift.to(wide)


Link = LowRankWeight | ShiftedBias
"""What this package puts on a parameter."""
