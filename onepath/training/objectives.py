"""The loss that the settings of a training name, with class weights from its training rows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from onepath.training.data import Target
from onepath.training.errors import TrainingError
from onepath.training.losses import class_weights_from_counts, cross_entropy, multilabel_cross_entropy, survival_loss
from onepath.training.settings import TrainerSettings
from onepath.training.survival import SurvivalTarget

Loss = Callable[[Tensor, Target], Tensor]
"""Logits `(rows, width)` and the target of the same rows to a scalar."""


def loss_from_settings(settings: TrainerSettings, target: Target) -> Loss:
    """Return the loss that the settings name, with class weights from the training rows.

    Args:
        settings: of the training.
        target: of the training rows.

    Raises:
        TrainingError: the target is of another kind than the loss needs.
    """
    kind = _kind(target)
    if kind != settings.loss:
        raise TrainingError(f"loss {settings.loss!r}", f"the target fits loss {kind!r}", "set loss to that")
    weights = _class_weights(settings, target)

    def loss(logits: Tensor, target: Target) -> Tensor:
        _check_width(logits, target)
        fitted = None if weights is None else _padded(weights, logits.shape[1])
        if isinstance(target, SurvivalTarget):
            return survival_loss(logits, target, alpha=settings.survival_alpha, class_weights=fitted)
        if kind == "multilabel":
            return multilabel_cross_entropy(logits, target, label_smoothing=settings.label_smoothing)
        return cross_entropy(logits, target, class_weights=fitted, label_smoothing=settings.label_smoothing)

    return loss


def _kind(target: Target) -> str:
    if isinstance(target, SurvivalTarget):
        return "survival"
    return "cross_entropy" if target.ndim == 1 else "multilabel"


def _check_width(logits: Tensor, target: Target) -> None:
    classes = target.bins if isinstance(target, SurvivalTarget) else target
    needed = classes.shape[1] if classes.ndim == 2 else int(classes.max()) + 1
    if logits.shape[1] < needed:
        raise TrainingError(
            f"outputs of width {logits.shape[1]}", f"the target has {needed} classes, labels or bins", "widen the head"
        )


def _class_weights(settings: TrainerSettings, target: Target) -> Tensor | None:
    classes = target.bins if isinstance(target, SurvivalTarget) else target
    if settings.class_weights == "none":
        return None
    return class_weights_from_counts(torch.bincount(classes), settings.class_weights)


def _padded(weights: Tensor, classes: int) -> Tensor:
    return functional.pad(weights, (0, classes - len(weights)), value=1.0)  # classes without rows count as one row
