"""Merging task heads: means of any number of heads, of several kinds, for every presence pattern at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.lego.head_table import HeadTable
from onepath.merging.lego.layers import TaskHead
from onepath.merging.lego.transport import transport

ROUNDS = 32
"""Steps towards the spherical mean; between two operands one step is exact.

Of twelve random heads of 64 numbers or more, the last step is at rounding in float64. A fixed number exports to ONNX.
"""
SMALLEST_NORM = 1e-8
SMALLEST_SINE = 1e-6

VectorMethod = Callable[[Tensor, Tensor], Tensor]
"""Merges vectors `(operands, …, size)` by weights `(results, operands)`; see `slerp`."""


@dataclass(frozen=True)
class WholeHeadMethod:
    """A head method that has to see the tensors of a head together.

    Attributes:
        merged: stacked heads and weights `(results, heads)` to merged heads, one a result.
    """

    merged: Callable[[HeadTable, Tensor], HeadTable]


HeadMethod = VectorMethod | WholeHeadMethod


def linear(operands: Tensor, weights: Tensor) -> Tensor:
    """Return weighted means, `(results, …, size)`.

    Args:
        operands: `(operands, …, size)`.
        weights: `(results, operands)`, not negative, each row with sum 1 (or 0: the result is zeros).
    """
    flat = weights @ operands.flatten(1)
    return flat.reshape(weights.shape[0], *operands.shape[1:])


def slerp(operands: Tensor, weights: Tensor) -> Tensor:
    """Return weighted spherical means: of the directions on the sphere, with norms interpolated linearly.

    For two operands this is spherical linear interpolation, with the second one's weight as its parameter. Where no
    mean direction is defined (an operand is zero, or opposite to the others) the result is the weighted mean.

    Args:
        operands: `(operands, …, size)`, each a vector along the last axis.
        weights: `(results, operands)`, not negative, each row with sum 1 (or 0: the result is zeros).
    """
    plain = linear(operands, weights)
    norms = _norm(operands)
    units = (operands / norms.clamp(min=SMALLEST_NORM)).unsqueeze(0)
    shares = weights.reshape(*weights.shape, *[1] * (operands.ndim - 1))
    point, defined = _start(units, shares)
    for _ in range(1 if operands.shape[0] <= 2 else ROUNDS):
        point = _step(point, units, shares)
    small = ((norms < SMALLEST_NORM) & (shares > 0)).any(1)
    alone = (shares > 0).sum(1) <= 1
    return torch.where(small | alone | ~defined, plain, point * (shares * norms).sum(1))


HEAD_METHODS: Mapping[str, HeadMethod] = {
    "slerp": slerp,
    "linear": linear,
    "transport": WholeHeadMethod(transport),
}


def head_method(name: str) -> HeadMethod:
    """Return the head method of this name.

    Raises:
        UnsupportedModuleError: there is none.
    """
    if name not in HEAD_METHODS:
        raise UnsupportedModuleError(
            f"head method {name!r}", "it is not known", f"use one of {', '.join(sorted(HEAD_METHODS))}"
        )
    return HEAD_METHODS[name]


def merged_heads(heads: Sequence[TaskHead], weights: Tensor, method: HeadMethod) -> HeadTable:
    """Return one merged head for each row of weights, differentiable in every head.

    A method of vectors merges each of a head's four tensors as one vector of its own.

    Args:
        heads: of one shape.
        weights: `(results, heads)`, see `slerp`.
        method: how.
    """
    tensors = [(head.norm.weight, head.norm.bias, head.linear.weight, head.linear.bias) for head in heads]
    stacked = HeadTable(*(torch.stack(parts) for parts in zip(*tensors, strict=True)))
    if isinstance(method, WholeHeadMethod):
        return method.merged(stacked, weights.to(stacked.gain.dtype))
    size = max(part[0].numel() for part in stacked)
    # Zeros at the end change neither a norm nor a product, so the four can be merged together.
    padded = torch.stack([functional.pad(part.flatten(1), (0, size - part[0].numel())) for part in stacked], dim=1)
    merged = method(padded, weights.to(padded.dtype))
    return HeadTable(*(merged[:, i, : part[0].numel()].reshape(-1, *part.shape[1:]) for i, part in enumerate(stacked)))


def subset_weights(weights: Sequence[float]) -> Tensor:
    """Return the weights of every subset, float64 `(2 ** blocks, blocks)`; row `pattern_index` belongs to a presence.

    >>> subset_weights([1, 3])[3].tolist()
    [0.25, 0.75]
    """
    rows = range(2 ** len(weights))
    return pattern_weights(torch.tensor([[row >> i & 1 for i in range(len(weights))] for row in rows]), weights)


def pattern_weights(present: Tensor, weights: Sequence[float]) -> Tensor:
    """Return the weights of some patterns, float64 `(patterns, blocks)`, each row with sum 1 (or 0 for the empty one).

    Args:
        present: 1 where a block is present, `(patterns, blocks)`.
        weights: one positive number a block.
    """
    chosen = present * torch.tensor(list(weights), dtype=torch.float64, device=present.device)
    return chosen / chosen.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)


def pattern_index(present: Tensor) -> Tensor:
    """Return the number of each row's presence pattern, int64 `(rows,)`, of bool `(rows, blocks)`."""
    bits = torch.tensor([1 << i for i in range(present.shape[1])], dtype=torch.int64, device=present.device)
    return (present.to(torch.int64) * bits).sum(1)


def logits_by_pattern(
    pooled: Tensor, present: Tensor, heads: Sequence[TaskHead], *, weights: Sequence[float], method: HeadMethod
) -> Tensor:
    """Return logits `(rows, classes)`, each row by the head that is merged of those that it has.

    Heads are merged for the patterns that occur; in a compiled or exported graph, for all of them.

    Args:
        pooled: `(rows, width)`.
        present: bool `(rows, heads)`.
        heads: of one shape.
        weights: one positive number a head.
        method: how they are merged.
    """
    index = pattern_index(present)
    if torch.compiler.is_compiling():
        shares = subset_weights(weights).to(pooled.device)
    else:
        patterns, index = torch.unique(index, return_inverse=True)
        bits = torch.arange(present.shape[1], device=present.device)
        shares = pattern_weights(patterns.unsqueeze(1) >> bits & 1, weights)
    return apply_heads(merged_heads(heads, shares, method), index, pooled)


def apply_heads(table: HeadTable, index: Tensor, pooled: Tensor) -> Tensor:
    """Return logits `(rows, classes)`, each row by its own head.

    Args:
        table: merged heads.
        index: int64 `(rows,)`.
        pooled: `(rows, width)`.
    """
    gain, shift, weight, bias = (part.index_select(0, index) for part in table)
    normed = functional.layer_norm(pooled, pooled.shape[-1:]) * gain + shift
    return (weight @ normed.unsqueeze(-1)).squeeze(-1) + bias


def _start(units: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Return the normalised mean of the directions, and where a spherical mean can start from it."""
    total = (units * shares).sum(1)
    length = _norm(total)
    point = total / length.clamp(min=SMALLEST_SINE)
    opposite = (_norm(units + point.unsqueeze(1)) < SMALLEST_SINE) & (shares > 0)
    return point, (length >= SMALLEST_SINE) & ~opposite.any(1)


def _step(point: Tensor, units: Tensor, shares: Tensor) -> Tensor:
    """Return the point moved along the sphere by the weighted mean of the arcs to the operands, made longer if many."""
    cosine = (units * point.unsqueeze(1)).sum(-1, keepdim=True)
    towards = units - cosine * point.unsqueeze(1)
    angle = 2 * torch.atan2(_norm(units - point.unsqueeze(1)), _norm(units + point.unsqueeze(1)))
    arcs = shares * (angle / _norm(towards))
    move = (arcs * towards).sum(1) * _stride((arcs * cosine).sum(1), shares)
    length = _norm(move)
    moved = point * torch.cos(length) + move * (torch.sin(length) / length)
    return moved / _norm(moved)


def _stride(curvature: Tensor, shares: Tensor) -> Tensor:
    """Return the length of a step: the half sum of squared arcs has second derivatives between `curvature` and 1.

    Two over the sum of both bounds is the fastest stride that is sure to converge; two operands have the 1 alone.
    """
    many = (shares > 0).sum(1) > 2
    return torch.where(many, 2 / (1 + curvature.clamp(min=0)), torch.ones_like(curvature))


def _norm(values: Tensor) -> Tensor:
    square = values.square().sum(-1, keepdim=True)
    return square.clamp(min=float(torch.finfo(values.dtype).tiny)).sqrt()
