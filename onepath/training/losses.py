"""The losses: cross-entropy of one class or of several labels, and the likelihood of discrete-time survival."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from onepath.training.survival import SurvivalTarget, log_survival

ClassWeights = Literal["none", "inverse", "inverse_root"]


def cross_entropy(
    logits: Tensor, classes: Tensor, *, class_weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean cross-entropy, a scalar.

    Args:
        logits: `(rows, classes)`.
        classes: int64 `(rows,)`, or probabilities `(rows, classes)`, as mixing of rows gives them.
        class_weights: `(classes,)`; with int64 classes the mean is weighted by them.
        label_smoothing: the share of probability that is spread over all classes.
    """
    return functional.cross_entropy(
        logits,
        classes,
        weight=None if class_weights is None else class_weights.to(logits),
        label_smoothing=label_smoothing,
    )


def multilabel_cross_entropy(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Return the mean binary cross-entropy over rows and labels, a scalar.

    Args:
        logits: `(rows, labels)`.
        labels: `(rows, labels)`, 0 to 1.
        label_smoothing: the share by which each label moves towards 0.5.
    """
    smoothed = labels.to(logits) * (1 - label_smoothing) + label_smoothing / 2
    return functional.binary_cross_entropy_with_logits(logits, smoothed)


def survival_loss(
    logits: Tensor,
    target: SurvivalTarget,
    *,
    alpha: float = 0.4,
    class_weights: Tensor | None = None,
    eps: float = 1e-7,
) -> Tensor:
    """Return the mean negative log-likelihood of discrete-time survival with censoring, a scalar.

    With hazard h and survival S, an observed event in bin Y costs -ln S(Y-1) - ln h(Y), and a censored row -ln S(Y).
    The loss is (1 - alpha) times the mean cost plus alpha times the mean cost of the observed events alone, as in
    MM-Lego (arXiv 2405.19950) and the survival models it builds on.

    Args:
        logits: `(rows, bins)`, whose sigmoids are the hazards.
        target: bins and events of the rows.
        alpha: how much censored rows are discounted, 0 to 1.
        class_weights: `(bins,)`; normalised to sum 1 and applied to the (1 - alpha) part only.
        eps: the smallest probability inside a logarithm, below which the gradient is zero; 0 sets no bound.
    """
    floor = math.log(eps) if eps > 0 else -math.inf
    bins = target.bins.unsqueeze(1)
    survived = functional.pad(log_survival(logits), (1, 0)).clamp(min=floor)
    hazard = functional.logsigmoid(logits).clamp(min=floor).gather(1, bins).squeeze(1)
    before, after = (survived.gather(1, index).squeeze(1) for index in (bins, bins + 1))
    zero = torch.zeros_like(before)
    observed = torch.where(target.events, -(before + hazard), zero)
    cost = observed + torch.where(target.events, zero, -after)
    if class_weights is not None:
        weights = class_weights.to(logits)
        cost = cost * (weights / weights.sum())[target.bins]
    return ((1 - alpha) * cost + alpha * observed).mean()


def class_weights_from_counts(counts: Tensor, kind: ClassWeights) -> Tensor | None:
    """Return a weight per class, float64 `(classes,)`: 1/count or 1/√count; a class without rows counts as one row.

    >>> class_weights_from_counts(torch.tensor([50, 4, 0]), "inverse_root")
    tensor([0.1414, 0.5000, 1.0000], dtype=torch.float64)
    """
    if kind == "none":
        return None
    inverse = 1 / counts.clamp(min=1).double()
    return inverse if kind == "inverse" else inverse.sqrt()


def used_parameters(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return the parameters that moved the loss of the last backward pass: their gradient is not zero throughout."""
    return [parameter for parameter in parameters if parameter.grad is not None and bool(parameter.grad.any())]


def l1_penalty(parameters: Sequence[Tensor]) -> Tensor:
    """Return the sum of absolute values, a scalar; pass `used_parameters`, so that dead weights do not count."""
    if not parameters:
        return torch.zeros(())
    return torch.stack([parameter.abs().sum() for parameter in parameters]).sum()
