"""Folded values as parameters that are not trained, so that they are stored, counted and moved with the module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onepath.export.collapse.storing import wide


def constant(values: Tensor, like: Tensor) -> nn.Parameter:
    """Return the values as a parameter without gradient, in the precision and on the device of `like`."""
    return nn.Parameter(values.detach().to(like).clone(memory_format=torch.contiguous_format), requires_grad=False)


def linear_from(weight: Tensor, bias: Tensor, like: Tensor | None = None) -> nn.Linear:
    """Return a linear layer with this weight `(outputs, inputs)` and bias `(outputs,)`, not trained.

    Args:
        weight: in any precision.
        bias: in any precision.
        like: whose precision and device the layer has; those of the weight and of the bias without it.
    """
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta", dtype=weight.dtype)
    layer.weight = constant(weight, weight if like is None else like)
    layer.bias = constant(bias, bias if like is None else like)
    return layer


def linear_after_norm(norm: nn.LayerNorm, layer: nn.Linear) -> nn.Linear:
    """Return the layer with the gain and bias of the norm before it folded in: it takes the norm without them.

    The products are made in float64, and rounded once to the layer's precision.
    """
    weight, bias = wide(layer.weight), wide(layer.weight) @ wide(norm.bias)
    if layer.bias is not None:
        bias = bias + wide(layer.bias)
    return linear_from(weight * wide(norm.weight), bias, layer.weight)
