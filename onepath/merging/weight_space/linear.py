"""The weighted mean of models: a model soup (Wortsman et al. 2022, https://arxiv.org/abs/2203.05482)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onepath.merging.weight_space.method import Coefficients, normalised


def linear(tensors: Sequence[Tensor], weights: Coefficients, *, normalise: bool = True) -> Tensor:
    """Return the weighted mean; the weighted sum where `normalise` is off.

    Args:
        tensors: one a model, of one shape.
        weights: one a model; negative ones move away from a model.
        normalise: divide the weights by their sum.

    Raises:
        ValueError: the weights are to be normalised and add up to 0.
    """
    return weighted_sum(tensors, normalised(weights) if normalise else weights)


def weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the sum of the tensors, each times its weight.

    Args:
        tensors: at least one, of one shape.
        weights: one a tensor.
    """
    total = torch.zeros_like(tensors[0])
    for tensor, weight in zip(tensors, weights, strict=True):
        total.add_(tensor, alpha=weight)
    return total
