"""A low-rank adapter as data: W + scale·B·A of one layer, and what its bias gains."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from onepath.contract.errors import UnsupportedModuleError


@dataclass(frozen=True, eq=False)
class LowRankAdapter:
    """What is added to one layer: y = W·x + b + scale·B·(A·x) + δb (LoRA, arXiv 2106.09685).

    Attributes:
        a: A, `(rank, inputs)`; of a convolution `(rank, channels, …kernel)`.
        b: B, `(outputs, rank)`.
        bias: δb `(outputs,)`, to which the scale is not applied; a generated adapter has one.
        alpha: α of the scale α / rank; the rank itself without it, for a scale of 1.
        rank_stabilized: whether the scale is α / √rank (rsLoRA, arXiv 2312.03732).
        dropout: in training, the chance of an input to be left out of A at a call, for all rows alike.

    Raises:
        UnsupportedModuleError: A and B have no rank in common, or a rank of 0; a tensor is not floating-point or not
            finite; α is not a number, or the dropout no chance.

    >>> adapter = LowRankAdapter(torch.ones(2, 3), torch.ones(4, 2), alpha=1)
    >>> adapter.rank, adapter.scale, tuple(adapter.update().shape), adapter.update()[0, 0].item()
    (2, 0.5, (4, 3), 1.0)
    """

    a: Tensor
    b: Tensor
    bias: Tensor | None = None
    alpha: float | None = None
    rank_stabilized: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_values(self)

    @property
    def rank(self) -> int:
        """Rows of A and columns of B."""
        return self.b.shape[1]

    @property
    def scale(self) -> float:
        """α / rank, or α / √rank."""
        return scale_from_alpha(self.rank if self.alpha is None else self.alpha, self.rank, self.rank_stabilized)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a weight that it fits, outputs first."""
        return (self.b.shape[0], *self.a.shape[1:])

    def update(self) -> Tensor:
        """Return ΔW = scale·B·A, outputs first, in at least float32."""
        return self.scale * low_rank_product(self.a, self.b)


def low_rank_product(a: Tensor, b: Tensor) -> Tensor:
    """Return B·A in at least float32, also under autocast, outputs first, with the axes of A after its first."""
    wide = wide_precision(a, b)
    with _without_autocast(a.device.type):
        product = b.to(wide) @ a.to(wide).flatten(1)
    return product.reshape(b.shape[0], *a.shape[1:])


def scale_from_alpha(alpha: float, rank: int, rank_stabilized: bool) -> float:
    """Return α / rank, or α / √rank."""
    return alpha / (math.sqrt(rank) if rank_stabilized else rank)


def wide_precision(*tensors: Tensor) -> torch.dtype:
    """Return the widest precision of the tensors, and at least float32: nothing is added up in less."""
    wide = torch.float32
    for tensor in tensors:
        wide = torch.promote_types(wide, tensor.dtype)
    return wide


def _without_autocast(device: str) -> AbstractContextManager[object]:
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return nullcontext()  # a context of torch's would be seen by an export
    return torch.autocast(device, enabled=False)


def _check_shapes(adapter: LowRankAdapter) -> None:
    a, b, bias = adapter.a, adapter.b, adapter.bias
    if a.ndim < 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
        raise UnsupportedModuleError(
            "a low-rank adapter",
            f"A is {tuple(a.shape)} and B is {tuple(b.shape)}, which have no rank in common",
            "give A as (rank, inputs) and B as (outputs, rank)",
        )
    if 0 in (*a.shape, *b.shape):
        raise UnsupportedModuleError(
            "a low-rank adapter", f"A is {tuple(a.shape)} and B is {tuple(b.shape)}: one is empty", "leave it out"
        )
    if bias is not None and bias.shape != b.shape[:1]:
        raise UnsupportedModuleError(
            "a low-rank adapter", f"its bias is {tuple(bias.shape)} and B is {tuple(b.shape)}", "give (outputs,)"
        )


def _check_values(adapter: LowRankAdapter) -> None:
    for name, tensor in (("A", adapter.a), ("B", adapter.b), ("bias", adapter.bias)):
        if tensor is None:
            continue
        if tensor.is_meta or not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise UnsupportedModuleError(
                "a low-rank adapter", f"{name} is not all finite floating-point numbers", "load or generate it again"
            )
    if not math.isfinite(adapter.scale):
        raise UnsupportedModuleError("a low-rank adapter", f"its scale is {adapter.scale}", "give a finite alpha")
    if not 0 <= adapter.dropout < 1:
        raise UnsupportedModuleError(
            "a low-rank adapter", f"dropout is {adapter.dropout}", "give a number from 0 to below 1"
        )
