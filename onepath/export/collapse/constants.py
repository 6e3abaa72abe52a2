"""Folded values as parameters that are not trained, so that they are stored, counted and moved with the module."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def constant(values: Tensor, like: Tensor) -> nn.Parameter:
    """Return the values as a parameter without gradient, in the precision and on the device of `like`."""
    return nn.Parameter(values.detach().to(like).clone(memory_format=torch.contiguous_format), requires_grad=False)


def linear_from(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Return a linear layer with this weight `(outputs, inputs)` and bias `(outputs,)`, not trained."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta", dtype=weight.dtype)
    layer.weight, layer.bias = constant(weight, weight), constant(bias, bias)
    return layer


def linear_after_norm(norm: nn.LayerNorm, layer: nn.Linear) -> nn.Linear:
    """Return the layer with the gain and bias of the norm before it folded in: it takes the norm without them."""
    bias = layer.weight @ norm.bias
    return linear_from(layer.weight * norm.weight, bias if layer.bias is None else bias + layer.bias)
