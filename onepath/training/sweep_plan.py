"""A sweep as data: a YAML file of settings, and the trials that it spans."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from onepath.contract.digests import canonical_json, sha256_from_bytes
from onepath.contract.errors import RecipeError
from onepath.contract.tensors import Closed
from onepath.contract.yaml_files import yaml_from_file
from onepath.training.settings import Seed, TrainerSettings

Problems = list[tuple[str, str]]
DottedPath = Annotated[str, Field(pattern=r"^(settings|model)(\.[^.]+)+$")]

YARDSTICK = ("loss", "label_smoothing", "class_weights", "survival_alpha")
"""Settings that change what a validation loss means."""


class SweepPlan(Closed):
    """Settings to try. A trial is one choice from every list of the grid, upon one of the runs, upon the common ones.

    Attributes:
        name: what the sweep is called.
        seeds: every trial is run with each; its value is the mean.
        settings: of the trainer, common to all trials; see `TrainerSettings`.
        model: what the function that builds the model and the rows gets; common to all trials.
        grid: dotted path, such as `settings.learning_rate` or `model.depth`, to the values to try.
        runs: alternatives, each a mapping of dotted paths to values.
    """

    name: str = Field(min_length=1)
    seeds: tuple[Seed, ...] = Field(default=(0,), min_length=1)
    settings: dict[str, Any] = Field(default_factory=dict)  # validated as TrainerSettings, trial by trial
    model: dict[str, Any] = Field(default_factory=dict)  # the builder's own
    grid: dict[DottedPath, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    runs: list[dict[DottedPath, Any]] = Field(default_factory=list)


@dataclass(frozen=True)
class Trial:
    """One choice of settings.

    Attributes:
        changes: dotted path to value: what makes the trial differ from the common settings.
        settings: of the trainer; the seed is set for each run.
        model: what the builder gets.
    """

    changes: Mapping[str, Any]
    settings: TrainerSettings
    model: Mapping[str, Any]

    def description(self, seed: int) -> dict[str, Any]:
        """Return all that decides a run, as JSON data."""
        settings = self.settings.model_copy(update={"seed": seed})
        return {"settings": settings.model_dump(mode="json"), "model": dict(self.model)}

    def digest(self, seed: int) -> str:
        """Return the name of a run's result: equal for equal settings."""
        return sha256_from_bytes(canonical_json(self.description(seed)))[:16]


def sweep_from_file(path: Path) -> SweepPlan:
    """Return the sweep in a YAML file.

    Args:
        path: the file.

    Raises:
        RecipeError: the file cannot be read, is not YAML, or is not a sweep; every problem is listed with its path.
    """
    raw = yaml_from_file(path)
    try:
        plan = SweepPlan.model_validate(raw)
    except ValidationError as error:
        raise RecipeError(str(path), _problems(error) + _problems_of_settings(raw)) from error
    trials_from_plan(plan, source=str(path))
    return plan


def trials_from_plan(plan: SweepPlan, *, source: str = "the sweep") -> tuple[Trial, ...]:
    """Return the trials of a sweep, equal ones once, in the order of the runs and then of the grid.

    Args:
        plan: the sweep.
        source: where it comes from, for the message.

    Raises:
        RecipeError: a trial's settings are not valid, or trials cannot be compared; every problem is listed.
    """
    problems: Problems = []
    trials = {}
    for choice in _choices(plan):
        trial = _trial(plan, choice, problems)
        if trial is not None:
            trials[trial.digest(0)] = trial
    if not problems:
        _check_comparable(plan, tuple(trials.values()), problems)
    if len(set(plan.seeds)) < len(plan.seeds):
        problems.append(("seeds", "one is given twice"))
    if problems:
        raise RecipeError(source, list(dict.fromkeys(problems)))
    return tuple(trials.values())


def _choices(plan: SweepPlan) -> Iterator[dict[str, tuple[str, Any]]]:
    """Yield, for each trial, dotted path to where in the plan its value stands and the value."""
    for index, run in enumerate(plan.runs or [{}]):
        common = {path: (f"runs.{index}.{path}", value) for path, value in run.items()}
        for values in product(*(enumerate(values) for values in plan.grid.values())):
            chosen = zip(plan.grid, values, strict=True)
            yield common | {path: (f"grid.{path}.{place}", value) for path, (place, value) in chosen}


def _trial(plan: SweepPlan, choice: Mapping[str, tuple[str, Any]], problems: Problems) -> Trial | None:
    whole = {"settings": copy.deepcopy(plan.settings), "model": copy.deepcopy(plan.model)}
    before = len(problems)
    for path, (place, value) in choice.items():
        if not _set(whole, path.split("."), value):
            problems.append((place, "the path goes through a value that is not a mapping"))
    try:
        settings = TrainerSettings.model_validate(whole["settings"])
        canonical_json(whole["model"])
    except ValidationError as error:
        places = {path: place for path, (place, _) in choice.items()}
        problems += [(_place(f"settings.{path}".rstrip("."), places), text) for path, text in _problems(error)]
    except (TypeError, ValueError) as error:
        problems.append(("model", f"holds what JSON cannot: {error}"))
    if len(problems) > before:
        return None
    return Trial({path: value for path, (_, value) in choice.items()}, settings, whole["model"])


def _set(tree: dict[str, Any], path: list[str], value: Any) -> bool:
    *parents, last = path
    for name in parents:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            return False
    tree[last] = copy.deepcopy(value)
    return True


def _place(path: str, places: Mapping[str, str]) -> str:
    for chosen, place in places.items():
        if path == chosen or path.startswith(f"{chosen}."):
            return place + path.removeprefix(chosen)
    return path


def _check_comparable(plan: SweepPlan, trials: tuple[Trial, ...], problems: Problems) -> None:
    metrics = {trial.settings.metric for trial in trials}
    if len(metrics) > 1:
        problems.append(("settings.metric", f"trials measured by {', '.join(sorted(metrics))} cannot be compared"))
    elif metrics == {"loss"}:
        for name in YARDSTICK:
            if len({getattr(trial.settings, name) for trial in trials}) > 1:
                problems.append((f"settings.{name}", "it changes what metric 'loss' means; choose another metric"))
    if any(path == "settings.seed" for trial in trials for path in trial.changes) or "seed" in plan.settings:
        problems.append(("settings.seed", "the seeds of a sweep stand in its list `seeds`"))


def _problems_of_settings(raw: Any) -> Problems:  # raw: what the file holds
    settings = raw.get("settings") if isinstance(raw, dict) else None
    try:
        TrainerSettings.model_validate(settings or {})
    except ValidationError as error:
        return [(f"settings.{path}".rstrip("."), text) for path, text in _problems(error)]
    return []


def _problems(error: ValidationError) -> Problems:
    return [
        (".".join(str(part) for part in entry["loc"]), entry["msg"].removeprefix("Value error, "))
        for entry in error.errors()
    ]
