"""DARE: drop changes at random and rescale the others (Yu et al. 2023, https://arxiv.org/abs/2311.03099)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from onepath.merging.weight_space.linear import weighted_sum
from onepath.merging.weight_space.method import Coefficients, Density, Scale, Shares
from onepath.merging.weight_space.task_arithmetic import differences
from onepath.merging.weight_space.ties import agreed_mean


def dare_linear(
    tensors: Sequence[Tensor],
    weights: Coefficients,
    *,
    base: Tensor,
    generators: Sequence[Generator],
    density: Density = 0.5,
) -> Tensor:
    """Return task arithmetic of thinned task vectors, whose expectation is task arithmetic.

    Args:
        tensors: one a fine-tuned model, of one shape.
        weights: λₖ, one a model.
        base: the tensor of the model that they were fine-tuned from.
        generators: one a model, on the CPU.
        density: probability with which an element's change is kept.
    """
    return base + weighted_sum(_thinned(tensors, base, density, generators), weights)


def dare_ties(
    tensors: Sequence[Tensor],
    weights: Shares,
    *,
    base: Tensor,
    generators: Sequence[Generator],
    density: Density = 0.5,
    scale: Scale = 1.0,
) -> Tensor:
    """Return TIES of thinned task vectors, which are not trimmed any further.

    Args:
        tensors: one a fine-tuned model, of one shape.
        weights: one a model, not negative; only the ratios count.
        base: the tensor of the model that they were fine-tuned from.
        generators: one a model, on the CPU.
        density: probability with which an element's change is kept.
        scale: λ of TIES.
    """
    return base + scale * agreed_mean(_thinned(tensors, base, density, generators), weights)


def _thinned(tensors: Sequence[Tensor], base: Tensor, density: float, generators: Sequence[Generator]) -> list[Tensor]:
    changes = differences(tensors, base)
    return [_thin(change, density, generator) for change, generator in zip(changes, generators, strict=True)]


def _thin(difference: Tensor, density: float, generator: Generator) -> Tensor:
    # Drawn in float32 on the CPU whatever the values are: the same elements are dropped in float64 and on a GPU.
    drawn = torch.rand(difference.shape, generator=generator).to(difference.device)
    return torch.where(drawn < density, difference / density, torch.zeros_like(difference))
