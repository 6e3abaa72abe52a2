"""One training loop for models of one modality and merged ones, reproducible from its seed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from onepath.merging.multimodal import MultimodalModel
from onepath.training.data import Batch, Dataset, Target, row_batches, row_count, rows_at, with_modalities
from onepath.training.early_stopping import EarlyStopping
from onepath.training.errors import NonFiniteError, TrainingError
from onepath.training.evaluation import Metric, metric_from_name
from onepath.training.forward import check_rows, device_of, is_multimodal, logits, predictions
from onepath.training.history import EpochRecord, History
from onepath.training.losses import l1_penalty, used_parameters
from onepath.training.objectives import check_fit, loss_from_settings
from onepath.training.optimisers import Groups, optimiser_from_settings, rate_from_settings
from onepath.training.presence import drop_modalities, dropout_probabilities
from onepath.training.reproducible import independent_seeds, reproducible
from onepath.training.schedules import LearningRate
from onepath.training.settings import TrainerSettings

_log = logging.getLogger(__name__)

Objective = Callable[[nn.Module, Batch], Tensor]
"""A model in training mode and a batch on its device to the scalar that is minimised."""

Measure = Callable[[Tensor, Target], object]


def fit(
    model: nn.Module,
    train: Dataset,
    validation: Dataset | None,
    settings: TrainerSettings,
    *,
    groups: Groups | None = None,
    objective: Objective | None = None,
    report: Callable[[EpochRecord], None] | None = None,
) -> History:
    """Train a model, and return how it went; the model is left in eval mode with the weights of its best epoch.

    Validation happens once an epoch. Equal seeds give equal weights; torch's global generator and number of threads are
    restored. If training breaks down or is interrupted, the model has the weights of the best epoch until then.

    Args:
        model: of one modality, `values -> logits`, or a `MultimodalModel`; trained where it is.
        train: rows to learn from.
        validation: rows to choose the best epoch by; without them the last epoch is it.
        settings: how.
        groups: parameters for the optimiser, such as `onepath.merging.reparameterization.parameter_groups` returns;
            all trainable ones without it. A group's own learning rate and decay come before those of the settings.
        objective: replaces the loss in training; validation keeps the settings' loss and metric.
        report: told of every epoch.

    Raises:
        TrainingError: the model, the rows and the settings do not fit; nothing was changed.
        NonFiniteError: the loss, the gradient, or an output or the loss on the validation rows became NaN or infinite.
        UndefinedMetricError: the validation rows do not define the metric; nothing was changed.
    """
    run = _prepared(model, train, validation, settings, groups=groups, objective=objective)
    _log.info("training on %d rows for at most %d epochs", row_count(train), settings.epochs)
    with reproducible(run.seeds[2], threads=settings.threads, device=run.device), _in_training(model, run.best):
        records, stopped = _trained(run, report or _nothing)
    _log.info("trained for %d epochs; epoch %d was the best", len(records), run.best.best_epoch)
    return History(settings.metric, tuple(records), run.best.best_epoch, stopped)


@dataclass(frozen=True)
class _Run:
    model: nn.Module
    train: Dataset
    validation: Dataset | None
    settings: TrainerSettings
    objective: Objective
    metric: Metric
    optimiser: Optimizer
    rate: LearningRate
    best: EarlyStopping
    dropout: Tensor
    seeds: list[int]
    device: torch.device
    steps_per_epoch: int


def _prepared(
    model: nn.Module,
    train: Dataset,
    validation: Dataset | None,
    settings: TrainerSettings,
    *,
    groups: Groups | None,
    objective: Objective | None,
) -> _Run:
    for data in (train, validation):
        if data is not None:
            check_rows(model, data)
    _check_validation(validation, settings)
    if is_multimodal(model):
        train = with_modalities(train, cast(MultimodalModel, model).modalities)
    loss = loss_from_settings(settings, train.target)
    metric = metric_from_name(settings.metric, loss)
    measured: list[tuple[Dataset, Measure]] = [] if objective else [(train, check_fit)]
    _check_outputs(model, train, measured + ([] if validation is None else [(validation, metric.of)]))
    optimiser = optimiser_from_settings(model, settings, groups)
    steps_per_epoch = len(row_batches(row_count(train), settings.batch_size))
    return _Run(
        model=model,
        train=train,
        validation=validation,
        settings=settings,
        objective=objective or (lambda model, batch: loss(logits(model, batch), batch.target)),
        metric=metric,
        optimiser=optimiser,
        rate=rate_from_settings(optimiser, settings, steps_per_epoch=steps_per_epoch),
        best=EarlyStopping(model, mode=metric.mode, patience=settings.patience),
        dropout=_modality_dropout(model, train, settings),
        seeds=independent_seeds(settings.seed, 3),
        device=device_of(model),
        steps_per_epoch=steps_per_epoch,
    )


@contextmanager
def _in_training(model: nn.Module, best: EarlyStopping) -> Iterator[None]:
    try:
        yield
    finally:
        best.restore()
        model.zero_grad(set_to_none=True)
        model.eval()


def _trained(run: _Run, report: Callable[[EpochRecord], None]) -> tuple[list[EpochRecord], bool]:
    order, presence = (torch.Generator().manual_seed(seed) for seed in run.seeds[:2])
    records: list[EpochRecord] = []
    for epoch in range(1, run.settings.epochs + 1):
        loss = _epoch(run, epoch, order, presence)
        value = _validated(run, epoch)
        improved = value is None or run.best.improves(value)
        stop = run.best.observe(epoch, value)
        run.rate.end_epoch(improved=improved)
        records.append(EpochRecord(epoch, loss, value, run.optimiser.param_groups[0]["lr"]))
        _log.debug("epoch %d: loss %.4g, validation %s", epoch, loss, value)
        report(records[-1])
        if stop:
            return records, True
    return records, False


def _epoch(run: _Run, epoch: int, order: torch.Generator, presence: torch.Generator) -> float:
    run.model.train()
    batches = row_batches(row_count(run.train), run.settings.batch_size, order)
    total = 0.0
    for index, positions in enumerate(batches):
        run.rate.set((epoch - 1) * run.steps_per_epoch + index)
        batch = run.train.batch(positions).to(run.device)
        if bool(run.dropout.any()):
            batch = Batch(batch.values, drop_modalities(batch.present, run.dropout, presence), batch.target)
        total += _step(run, batch, epoch=epoch, step=index + 1) * len(positions)
    return total / row_count(run.train)


def _step(run: _Run, batch: Batch, *, epoch: int, step: int) -> float:
    parameters = [parameter for group in run.optimiser.param_groups for parameter in group["params"]]
    run.optimiser.zero_grad(set_to_none=True)
    loss = run.objective(run.model, batch)
    _check_finite("loss", loss, epoch=epoch, step=step)
    torch.autograd.backward(loss)
    if run.settings.l1:
        penalty = run.settings.l1 * l1_penalty(used_parameters(parameters))
        if penalty.requires_grad:
            torch.autograd.backward(penalty)
        loss = loss + penalty.to(loss)
    norm = nn.utils.clip_grad_norm_(parameters, run.settings.clip or math.inf)
    _check_finite("gradient", norm, epoch=epoch, step=step)
    run.optimiser.step()
    return float(loss.detach())


def _validated(run: _Run, epoch: int) -> float | None:
    if run.validation is None:
        return None
    answers = predictions(run.model, run.validation, batch_size=run.settings.batch_size)
    step = run.steps_per_epoch
    _check_finite("largest output on the validation rows", answers.abs().max(), epoch=epoch, step=step)
    value = run.metric.of(answers, run.validation.target.to(answers.device))
    measured = torch.tensor(value, dtype=torch.float64)
    _check_finite(f"{run.settings.metric} on the validation rows", measured, epoch=epoch, step=step)
    return value


def _modality_dropout(model: nn.Module, train: Dataset, settings: TrainerSettings) -> Tensor:
    dropout = dropout_probabilities(settings.modality_dropout, train.modalities)
    if bool(dropout.any()) and not is_multimodal(model):
        raise TrainingError("modality_dropout", "the model has one modality", "leave it at 0")
    return dropout


def _check_outputs(model: nn.Module, train: Dataset, measured: Sequence[tuple[Dataset, Measure]]) -> None:
    """Run one row, and check that outputs as wide can be measured on all, before anything changes."""
    if not measured:
        return
    with reproducible(0, device=device_of(model)):
        one = predictions(model, rows_at(train, torch.arange(1)))
    for data, measure in measured:
        measure(torch.zeros_like(one).expand(row_count(data), -1), data.target.to(one.device))


def _check_validation(validation: Dataset | None, settings: TrainerSettings) -> None:
    if validation is None and (settings.patience is not None or settings.schedule == "plateau"):
        raise TrainingError(
            "patience or the schedule 'plateau'", "there are no validation rows to go by", "give some, or set neither"
        )


def _check_finite(quantity: str, value: Tensor, *, epoch: int, step: int) -> None:
    if not bool(value.isfinite().all()):
        raise NonFiniteError(quantity, value=float(value.detach()), epoch=epoch, step=step)


def _nothing(record: EpochRecord) -> None:
    """Tell no one."""
