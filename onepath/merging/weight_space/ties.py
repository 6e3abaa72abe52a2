"""TIES: trim, elect sign and merge (Yadav et al. 2023, https://arxiv.org/abs/2306.01708)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onepath.merging.weight_space.linear import weighted_sum
from onepath.merging.weight_space.method import Density, Scale, Shares
from onepath.merging.weight_space.task_arithmetic import differences


def ties(
    tensors: Sequence[Tensor], weights: Shares, *, base: Tensor, density: Density = 0.2, scale: Scale = 1.0
) -> Tensor:
    """Return the base plus the mean of the largest changes whose sign the models agree on.

    The paper trims the changes of a whole model at one magnitude; here each tensor is trimmed by itself, so that a
    tensor's merge depends on nothing else and small layers are not silenced by large ones.

    Args:
        tensors: one a fine-tuned model, of one shape.
        weights: one a model, not negative; only the ratios count, in the election as in the mean.
        base: the tensor of the model that they were fine-tuned from.
        density: part of each tensor's changes that is kept, the largest magnitudes; equal ones stay together.
        scale: λ of the paper.
    """
    trimmed = [trim(difference, density) for difference in differences(tensors, base)]
    return base + scale * agreed_mean(trimmed, weights)


def trim(difference: Tensor, density: float) -> Tensor:
    """Return a task vector with zeros in all but its largest magnitudes.

    Args:
        difference: of any shape.
        density: part that is kept, at least one element; elements as large as the smallest kept one are kept too.
    """
    size = difference.numel()
    dropped = size - max(1, round(density * size))
    if dropped <= 0:
        return difference
    magnitude = difference.abs()
    threshold = magnitude.flatten().kthvalue(dropped + 1).values
    return torch.where(magnitude >= threshold, difference, torch.zeros_like(difference))


def agreed_mean(differences: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return, element by element, the weighted mean of the changes that have the sign with the larger mass.

    It is 0 where both signs have the same mass, or no model has a change.

    Args:
        differences: task vectors, one a model, of one shape.
        weights: one a model, not negative.
    """
    elected = weighted_sum(differences, weights).sign()
    agreeing = [difference.sign() == elected for difference in differences]
    mass = weighted_sum([mask.to(elected.dtype) for mask in agreeing], weights)
    kept = [torch.where(mask, d, torch.zeros_like(d)) for mask, d in zip(agreeing, differences, strict=True)]
    return weighted_sum(kept, weights) / torch.where(mass > 0, mass, torch.ones_like(mass))
