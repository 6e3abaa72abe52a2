"""What M2PT measures: a model trained on with another modality's weights attached, beside as much training without."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from onepath.contract.tensors import Closed
from onepath.merging.reparameterization import parameter_groups, reparameterize, scales
from onepath.training.data import Dataset, Target
from onepath.training.evaluation import finite, metric_from_name
from onepath.training.forward import predictions
from onepath.training.history import EpochRecord
from onepath.training.metrics import Interval, bootstrap_interval
from onepath.training.reproducible import reproducible
from onepath.training.settings import NotNegative, Positive, Probability, TrainerSettings
from onepath.training.trainer import fit

Stages = Callable[[str, int], AbstractContextManager[Any]]  # Any: has `advance()` and `note(text)`
"""Opens a stage of a title and a number of epochs, as the `progress` that training code gets does."""


class PathwaySettings(Closed):
    """How the models of the comparison are trained, all with the same rates.

    Attributes:
        epochs: of the target alone.
        auxiliary_epochs: of the auxiliary.
        pathway_epochs: of the target with the auxiliary's weights attached, and of a copy of it without them.
        batch_size: the most rows of a step.
        learning_rate: the highest.
        scale_factor: learning rate of the scales λ over that of all else; they start at 0, where they move slowly.
        weight_decay: of matrices.
        block_decay: of the learning rate, from block to block towards the input.
        label_smoothing: the share of probability that is spread over all classes.
        warm_up: the share of the epochs in which the learning rate rises.
    """

    epochs: int = Field(default=8, ge=1)
    auxiliary_epochs: int = Field(default=8, ge=1)
    pathway_epochs: int = Field(default=4, ge=1)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: Positive = 2e-3
    scale_factor: Positive = 10.0
    weight_decay: NotNegative = 0.05
    block_decay: float = Field(default=1.0, gt=0, le=1)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    warm_up: Probability = 0.15


@dataclass(frozen=True, eq=False)
class PathwayData:
    """The rows of the comparison.

    Attributes:
        target: what the target learns from.
        held_out: what the target is measured on; no model learns from it or is chosen by it.
        auxiliary: what the auxiliary learns from.
    """

    target: Dataset
    held_out: Dataset
    auxiliary: Dataset


@dataclass(frozen=True, eq=False)
class PathwayResult:
    """What the comparison gave.

    Attributes:
        model: the target with its pathway attached, in eval mode; a collapse ends the pathway.
        held_out_rows: how many there are.
        accuracies: fraction of the held-out rows that are answered right: by the target `alone`, then `with_pathway`
            and `without_pathway` after as much further training.
        gain: of the fraction with the pathway over that without it, on the same rows; where its interval holds 0, the
            rows do not tell whether the pathway helps. It is of one training: another seed moves the gain too.
        scales: the trained λ of each layer.
    """

    model: nn.Module
    held_out_rows: int
    accuracies: Mapping[str, float]
    gain: Interval
    scales: Mapping[str, float]

    def details(self) -> dict[str, Any]:  # JSON
        """Return what is worth telling of the result, for a bundle's manifest, rounded to what people read."""
        gain = {name: getattr(self.gain, name) for name in ("value", "low", "high", "level")}
        return {
            "held_out_rows": self.held_out_rows,
            "held_out_accuracy": _rounded(self.accuracies),
            "pathway_gain": _rounded(gain),
            "pathway_scales": _rounded(self.scales),
        }


def train_with_pathway(
    target: nn.Module,
    auxiliary: nn.Module,
    data: PathwayData,
    settings: PathwaySettings,
    *,
    layers: Sequence[str],
    seed: int,
    stages: Stages,
) -> PathwayResult:
    """Train a target and an auxiliary, join them, and return the target trained on with the pathway.

    The copy without a pathway gets the same rows in the same order for as many epochs, so that what differs is the
    pathway. Everything runs on one thread, so that the result does not depend on the number of cores.

    Args:
        target: a classifier of one modality; trained in place, then with the pathway attached.
        auxiliary: a classifier of another modality, whose blocks are named as the target's; trained in place.
        data: the rows of both.
        settings: how long and how fast.
        layers: names of the layers that are joined; see `onepath.merging.reparameterization.reparameterize`.
        seed: of the order of rows and of all that is random in training.
        stages: told of every epoch.

    Raises:
        TrainingError: a model and its rows do not fit.
        UnsupportedModuleError: the two models cannot be joined.
    """

    def run(title: str, model: nn.Module, rows: Dataset, epochs: int) -> None:
        with stages(title, epochs) as stage:
            chosen = _trainer_settings(settings, epochs, seed)
            loss = _fitted(model, rows, chosen, groups=_groups(model, settings), stage=stage)
            if rows is data.target:
                answers.append(_answers(model, data.held_out))
                stage.note(f"{loss}, {_accuracy(answers[-1], data.held_out.target):.1%} of held-out rows right")

    answers: list[Tensor] = []
    run("auxiliary, alone", auxiliary, data.auxiliary, settings.auxiliary_epochs)
    run("target, alone", target, data.target, settings.epochs)
    plain = copy.deepcopy(target)
    reparameterize(target, auxiliary, layers=layers, name="auxiliary")
    run("target, on with the auxiliary's weights", target, data.target, settings.pathway_epochs)
    run("target, on without them", plain, data.target, settings.pathway_epochs)
    accuracies = [_accuracy(each, data.held_out.target) for each in answers]
    return PathwayResult(
        target,
        held_out_rows=len(answers[0]),
        accuracies=dict(zip(("alone", "with_pathway", "without_pathway"), accuracies, strict=True)),
        gain=_gain(answers[1], answers[2], data.held_out.target, seed=seed),
        scales={path: values[0] for path, values in scales(target).items()},
    )


def _fitted(
    model: nn.Module, rows: Dataset, settings: TrainerSettings, *, groups: Sequence[dict[str, Any]], stage: Any
) -> str:  # groups: what torch optimisers take; stage: has `advance()` and `note(text)`
    """Train a model, tell of every epoch, and return what was told of the last."""

    def tell(record: EpochRecord) -> None:
        stage.advance()
        stage.note(_loss(record))

    return _loss(fit(model, rows, None, settings, groups=groups, report=tell).best)


def _loss(record: EpochRecord) -> str:
    return f"loss {record.loss:.2f}"


def _trainer_settings(settings: PathwaySettings, epochs: int, seed: int) -> TrainerSettings:
    return TrainerSettings(
        epochs=epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        label_smoothing=settings.label_smoothing,
        warm_up_epochs=settings.warm_up * epochs,
        seed=seed,
        threads=1,
    )


def _groups(model: nn.Module, settings: PathwaySettings) -> list[dict[str, Any]]:  # what torch optimisers take
    return parameter_groups(
        model,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        scale_learning_rate=settings.scale_factor * settings.learning_rate,
        block_decay=settings.block_decay,
    )


def _answers(model: nn.Module, held_out: Dataset) -> Tensor:
    with reproducible(0, threads=1, device=torch.device("cpu")):
        return finite(predictions(model, held_out))


def _accuracy(answers: Tensor, target: Target) -> float:
    return metric_from_name("accuracy").of(answers, target)


def _gain(with_pathway: Tensor, without: Tensor, target: Target, *, seed: int) -> Interval:
    def gain(positions: NDArray[np.int64]) -> float:
        rows = torch.from_numpy(positions)
        return _accuracy(with_pathway[rows], target[rows]) - _accuracy(without[rows], target[rows])

    return bootstrap_interval(gain, len(with_pathway), seed=seed)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in values.items()}
