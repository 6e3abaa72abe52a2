"""Task arithmetic (Ilharco et al. 2023, https://arxiv.org/abs/2212.04089): adding what fine-tuning changed."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from onepath.merging.weight_space.linear import weighted_sum
from onepath.merging.weight_space.method import Coefficients


def task_arithmetic(tensors: Sequence[Tensor], weights: Coefficients, *, base: Tensor) -> Tensor:
    """Return `base + Σ λₖ (Wₖ − base)`.

    Args:
        tensors: Wₖ, one a fine-tuned model, of one shape.
        weights: λₖ, one a model; a negative one takes away what the model has learned.
        base: the tensor of the model that they were fine-tuned from.
    """
    return base + weighted_sum(differences(tensors, base), weights)


def differences(tensors: Sequence[Tensor], base: Tensor) -> list[Tensor]:
    """Return the task vectors: what fine-tuning changed in each model."""
    return [tensor - base for tensor in tensors]
