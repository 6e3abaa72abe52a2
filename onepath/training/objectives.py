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

    The loss raises `TrainingError` where outputs and target do not fit; see `check_fit`.

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
        check_fit(logits, target)
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


def check_fit(logits: Tensor, target: Target) -> None:
    """Check that outputs `(rows, width)` can be compared with a target.

    Raises:
        TrainingError: they are too narrow for a class or bin, of another width than labels, or a label is not 0 to 1.
    """
    width = logits.shape[1]
    classes = target.bins if isinstance(target, SurvivalTarget) else target
    if classes.ndim == 2:
        _check_labels(width, classes)
    elif width <= int(classes.max()):
        raise TrainingError(
            f"outputs of width {width}", f"the target has {int(classes.max()) + 1} classes or bins", "widen the head"
        )


def _check_labels(width: int, labels: Tensor) -> None:
    if width != labels.shape[1]:
        raise TrainingError(f"outputs of width {width}", f"the target has {labels.shape[1]} labels", "give as many")
    if not bool(((labels >= 0) & (labels <= 1)).all()):
        raise TrainingError("the labels", "one is not from 0 to 1", "give probabilities, 1 where a label applies")


def _class_weights(settings: TrainerSettings, target: Target) -> Tensor | None:
    classes = target.bins if isinstance(target, SurvivalTarget) else target
    if settings.class_weights == "none":
        return None
    return class_weights_from_counts(torch.bincount(classes), settings.class_weights)


def _padded(weights: Tensor, classes: int) -> Tensor:
    return functional.pad(weights, (0, classes - len(weights)), value=1.0)  # classes without rows count as one row
