"""Sweeps: every trial with every seed, chosen by validation, the chosen one tested once; resumable."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from onepath.contract.digests import canonical_json
from onepath.training.early_stopping import Mode, is_better
from onepath.training.errors import NonFiniteError, TrainingError
from onepath.training.evaluation import evaluate, metric_mode
from onepath.training.figures import Figure, figure
from onepath.training.history import History
from onepath.training.json_files import read_json, write_json
from onepath.training.reproducible import reproducible
from onepath.training.settings import METRICS_OF_LOSS, MetricName, TrainerSettings
from onepath.training.splits import Splits
from onepath.training.sweep_plan import SweepPlan, Trial, trials_from_plan
from onepath.training.trainer import fit

_log = logging.getLogger(__name__)

Build = Callable[[Mapping[str, Any], int], tuple[nn.Module, Splits]]
"""The `model` settings of a trial and a seed to a fresh model and its rows."""


@dataclass(frozen=True)
class TrialResult:
    """What a trial gave.

    Attributes:
        changes: what makes it differ from the common settings.
        validation: the metric of each seed's best epoch; None where a run broke down.
        failure: how the first such run broke down.
    """

    changes: Mapping[str, Any]
    validation: Figure | None
    failure: str | None = None


@dataclass(frozen=True)
class SweepResult:
    """What a sweep gave.

    Attributes:
        name: of the sweep.
        metric: what the trials were compared by on validation rows.
        trials: all, in the order of the plan.
        chosen: position of the best.
        test_metric: what the chosen one was tested by.
        test: its metric on the test rows, which no other trial has seen.
    """

    name: str
    metric: MetricName
    trials: tuple[TrialResult, ...]
    chosen: int
    test_metric: MetricName
    test: Figure


def run_sweep(plan: SweepPlan, build: Build, folder: Path) -> SweepResult:
    """Return the results of a sweep, and write them to `sweep.json` in a folder.

    Each finished run has a file of its own in `runs/`, named by its settings, and is not repeated: a sweep that was
    interrupted goes on where it was. Use another folder where code or data have changed. A trial of which a run breaks
    down, as at too high a learning rate, is recorded so and not chosen.

    Args:
        plan: the sweep.
        build: makes the model and its rows; called with torch's generator seeded.
        folder: of the results.

    Raises:
        RecipeError: the plan is not valid; nothing was run.
        TrainingError: every trial broke down, a model and its rows do not fit, or a result file is damaged.
        UndefinedMetricError: the validation or test rows do not define the metric.
    """
    trials = trials_from_plan(plan)
    results = tuple(_result(trial, plan, build, folder) for trial in trials)
    metric = trials[0].settings.metric
    chosen = _best(results, metric_mode(metric), name=plan.name)
    test_metric = _test_metric(trials[chosen].settings)
    test = figure([_tested(trials[chosen], seed, build, folder, metric=test_metric) for seed in plan.seeds])
    result = SweepResult(plan.name, metric, results, chosen, test_metric, test)
    write_json(folder / "sweep.json", asdict(result))
    return result


def _best(results: Sequence[TrialResult], mode: Mode, *, name: str) -> int:
    means = {index: result.validation.mean for index, result in enumerate(results) if result.validation is not None}
    if not means:
        reason = f"every trial broke down, the first thus: {results[0].failure}"
        raise TrainingError(f"sweep {name!r}", reason, "mend the settings that all trials have in common")
    best = min(means)
    for index, mean in means.items():
        if is_better(mean, means[best], mode):
            best = index
    return best


def _result(trial: Trial, plan: SweepPlan, build: Build, folder: Path) -> TrialResult:
    changes, values = dict(trial.changes), []
    for seed in plan.seeds:
        found = _validated(trial, seed, build, folder)
        if isinstance(found, str):
            _log.info("%s with seed %d broke down: %s", changes, seed, found)
            return TrialResult(changes, None, found)
        values.append(found)
    _log.info("%s: %s", changes, values)
    return TrialResult(changes, figure(values))


def _validated(trial: Trial, seed: int, build: Build, folder: Path) -> float | str:
    """Return the metric of a run's best epoch, or how it broke down."""

    def record() -> dict[str, Any]:
        try:
            _, _, history = _fitted(trial, seed, build)
        except NonFiniteError as error:
            return {"validation": None, "failure": str(error)}
        return {"validation": history.best.validation, "history": asdict(history)}

    path = folder / "runs" / f"{trial.digest(seed)}.json"
    found = _once(path, trial.description(seed), record, holds="validation")
    return str(found.get("failure")) if found["validation"] is None else float(found["validation"])


def _tested(trial: Trial, seed: int, build: Build, folder: Path, *, metric: MetricName) -> float:
    def record() -> dict[str, Any]:
        model, splits, _ = _fitted(trial, seed, build)  # the same model again: runs are reproducible
        return {"test": asdict(evaluate(model, splits.test, [metric])[metric])}

    path = folder / "runs" / f"{trial.digest(seed)}.{metric}.test.json"
    return float(_once(path, trial.description(seed), record, holds="test")["test"]["value"])


def _once(
    path: Path, description: dict[str, Any], record: Callable[[], dict[str, Any]], *, holds: str
) -> dict[str, Any]:
    found = read_json(path)
    if found is None:
        found = {"run": description, **record()}
        write_json(path, found)
    if not isinstance(found, dict) or holds not in found or not _equal(found.get("run"), description):
        raise TrainingError(f"the result file {path}", "it is not the result of its run", "remove it")
    return found


def _equal(first: Any, second: Any) -> bool:  # what JSON can hold
    return canonical_json(first) == canonical_json(second)


def _fitted(trial: Trial, seed: int, build: Build) -> tuple[nn.Module, Splits, History]:
    with reproducible(seed, threads=trial.settings.threads):
        model, splits = build(trial.model, seed)
    settings = trial.settings.model_copy(update={"seed": seed})
    return model, splits, fit(model, splits.train, splits.validation, settings)


def _test_metric(settings: TrainerSettings) -> MetricName:
    return METRICS_OF_LOSS[settings.loss][1] if settings.metric == "loss" else settings.metric
