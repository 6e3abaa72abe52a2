"""Metrics by name, and the one look at held-out rows in the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from onepath.training.data import Dataset, Target
from onepath.training.early_stopping import Mode
from onepath.training.errors import TrainingError
from onepath.training.forward import predictions
from onepath.training.metrics import (
    Flags,
    Interval,
    Scores,
    accuracy,
    auc,
    bootstrap_interval,
    concordance_index,
    mean_average_precision,
)
from onepath.training.objectives import Loss, check_fit
from onepath.training.settings import MetricName
from onepath.training.survival import SurvivalTarget, survival_risk


@dataclass(frozen=True)
class Metric:
    """A number that a model is judged by.

    Attributes:
        of: logits `(rows, width)` and target to the number.
        mode: whether lower or higher is better.
    """

    of: Callable[[Tensor, Target], float]
    mode: Mode


def metric_from_name(name: MetricName, loss: Loss | None = None) -> Metric:
    """Return a metric.

    Args:
        name: its name.
        loss: what `loss` means.

    Raises:
        TrainingError: `loss` is asked for and is not given.
    """
    if name in _METRICS:
        return _METRICS[name]
    if loss is None:
        raise TrainingError(f"metric {name!r}", "it is not one of held-out rows", f"use one of {', '.join(_METRICS)}")
    return Metric(lambda logits, target: float(loss(logits, target)), metric_mode(name))


def metric_mode(name: MetricName) -> Mode:
    """Return whether a lower or a higher value of a metric is better."""
    return "min" if name == "loss" else _METRICS[name].mode


def evaluate(
    model: nn.Module,
    data: Dataset,
    metrics: Sequence[MetricName],
    *,
    batch_size: int = 256,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return metrics of a model on held-out rows, each with its bootstrap interval.

    Rows that nothing was selected by give an honest number once: do not choose models by it.

    Args:
        model: of one modality or a `MultimodalModel`; run in eval mode, once.
        data: the rows.
        metrics: names of metrics, all but `loss`.
        batch_size: the most rows of one run.
        resamples: of the bootstrap; 0 for none.
        level: the share of resamples in the interval.
        seed: of the resampling.

    Raises:
        TrainingError: the model and the rows do not fit, its outputs are not finite, or an option makes no sense.
        UndefinedMetricError: the rows do not define a metric.
    """
    answers = finite(predictions(model, data, batch_size=batch_size))
    target = data.target
    found = {}
    for name in metrics:
        value_of = _of_positions(metric_from_name(name), answers, target)
        found[str(name)] = bootstrap_interval(value_of, len(answers), seed=seed, resamples=resamples, level=level)
    return found


def finite(answers: Tensor) -> Tensor:
    """Return a model's outputs.

    Raises:
        TrainingError: one is NaN or infinite.
    """
    if not bool(answers.isfinite().all()):
        bad = int((~answers.isfinite()).any(dim=1).sum())
        raise TrainingError(
            "the model's outputs", f"{bad} of {len(answers)} rows have NaN or infinity", "look at its weights and rows"
        )
    return answers


def _of_positions(metric: Metric, answers: Tensor, target: Target) -> Callable[..., float]:
    def value(positions: object) -> float:
        index = torch.as_tensor(positions)
        return metric.of(answers[index], target[index])

    return value


def _accuracy(logits: Tensor, target: Target) -> float:
    classes = _tensor(target)
    if classes.ndim != 1:
        raise TrainingError("metric 'accuracy'", "the target is of labels", "use auc or mean_average_precision")
    check_fit(logits, classes)
    return accuracy(_wide(logits), classes.cpu().numpy())


def _auc(logits: Tensor, target: Target) -> float:
    return auc(_probabilities(logits, target), _members(target, logits.shape[1]))


def _mean_average_precision(logits: Tensor, target: Target) -> float:
    return mean_average_precision(_probabilities(logits, target), _members(target, logits.shape[1]))


def _concordance_index(logits: Tensor, target: Target) -> float:
    if not isinstance(target, SurvivalTarget):
        raise TrainingError("metric 'concordance_index'", "the target is not of survival", "give a SurvivalTarget")
    return concordance_index(
        _wide(survival_risk(logits.double())), target.times.cpu().numpy(), target.events.cpu().numpy()
    )


_METRICS: dict[str, Metric] = {
    "accuracy": Metric(_accuracy, "max"),
    "auc": Metric(_auc, "max"),
    "mean_average_precision": Metric(_mean_average_precision, "max"),
    "concordance_index": Metric(_concordance_index, "max"),
}


def _tensor(target: Target) -> Tensor:
    if isinstance(target, SurvivalTarget):
        raise TrainingError("this metric", "the target is of survival", "use concordance_index")
    return target


def _probabilities(logits: Tensor, target: Target) -> Scores:
    check_fit(logits, _tensor(target))
    wide = logits.double()
    return _wide(wide.softmax(dim=1) if _tensor(target).ndim == 1 else wide.sigmoid())


def _members(target: Target, classes: int) -> Flags:
    tensor = _tensor(target)
    members = functional.one_hot(tensor, classes).bool() if tensor.ndim == 1 else tensor > 0.5
    flags: Flags = members.cpu().numpy()
    return flags


def _wide(tensor: Tensor) -> Scores:
    array: Scores = tensor.detach().double().cpu().numpy()
    return array
