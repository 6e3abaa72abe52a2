"""Optimisers and their learning rates from the settings of a training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from onepath.merging.reparameterization import parameter_groups
from onepath.training.errors import TrainingError
from onepath.training.schedules import LearningRate
from onepath.training.settings import TrainerSettings

Groups = Iterable[dict[str, Any]]
"""Parameter groups as torch's optimisers take them."""


def optimiser_from_settings(model: nn.Module, settings: TrainerSettings, groups: Groups | None = None) -> Optimizer:
    """Return an optimiser.

    Args:
        model: whose trainable parameters are meant where there are no groups.
        settings: of the training.
        groups: of parameters, not changed; a group's own learning rate and decay come before those of the settings.

    Raises:
        TrainingError: no parameter of the model is trainable, or torch cannot use the groups.
    """
    rate, decay = settings.learning_rate, settings.weight_decay
    if groups is None:
        groups = parameter_groups(model, learning_rate=rate, weight_decay=decay)
    own = list(groups)
    optimiser = _optimiser(own, settings) if own else None
    if optimiser is None or not _trains(optimiser, model):
        raise TrainingError(
            f"a {type(model).__name__}", "it has no trainable parameter here", "unfreeze what is to learn"
        )
    return optimiser


def rate_from_settings(optimiser: Optimizer, settings: TrainerSettings, *, steps_per_epoch: int) -> LearningRate:
    """Return what sets the learning rates of an optimiser step by step."""
    return LearningRate(
        optimiser,
        kind=settings.schedule,
        steps=settings.epochs * steps_per_epoch,
        warm_up_steps=round(settings.warm_up_epochs * steps_per_epoch),
        final=settings.final_factor,
        patience=settings.plateau_wait,
    )


def _trains(optimiser: Optimizer, model: nn.Module) -> bool:
    known = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
    return any(parameter.requires_grad and id(parameter) in known for parameter in model.parameters())


def _optimiser(groups: list[dict[str, Any]], settings: TrainerSettings) -> Optimizer:
    try:
        return _from_groups([dict(group) for group in groups], settings)  # an optimiser writes into its groups
    except (KeyError, TypeError, ValueError) as error:  # the settings are valid, so it is the groups
        raise TrainingError(
            "the parameter groups", f"torch refuses them ({error})", "give mappings with `params`, each in one group"
        ) from error


def _from_groups(groups: list[dict[str, Any]], settings: TrainerSettings) -> Optimizer:
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimiser == "sgd":
        return SGD(groups, lr=rate, weight_decay=decay, momentum=settings.momentum)
    kind = AdamW if settings.optimiser == "adamw" else Adam
    return kind(groups, lr=rate, weight_decay=decay, betas=settings.betas)
