"""Figures that can be compared although the machine drifts: each relative to the default measured nearest in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import numpy as np

from onepath.tuning.candidates import Candidate
from onepath.tuning.figures import Figures
from onepath.tuning.journal import Entry
from onepath.tuning.settings import Goal

SMALLEST_NOISE = 0.03
"""Candidates whose scores differ by less than this share are never told apart."""

_SPEEDS = ("rows_per_s", "p50_ms", "p95_ms", "p99_ms")


@dataclass(frozen=True)
class Summary:
    """All measurements of one candidate.

    Attributes:
        candidate: what was measured.
        runs: how often.
        figures: corrected for drift; None where a run failed.
        ratio: rows a second divided by those of the default; None where the default was not measured.
        failure: why a run failed.
    """

    candidate: Candidate
    runs: int
    figures: Figures | None
    ratio: float | None = None
    failure: str | None = None


def summaries(entries: Sequence[Entry], default: Candidate) -> dict[Candidate, Summary]:
    """Return each candidate that was measured, the first one first.

    A figure is the median over a candidate's runs of its ratio to that of the default run nearest in time, times the
    default's median: on a machine that does not drift, the figure itself. CPU time is taken as it was measured.

    Args:
        entries: the measurements, in any order.
        default: what the others are relative to.
    """
    defaults = default_runs(entries, default)
    by_candidate: dict[Candidate, list[Entry]] = {}
    for entry in entries:
        by_candidate.setdefault(entry.candidate, []).append(entry)
    return {candidate: _summary(candidate, runs, defaults) for candidate, runs in by_candidate.items()}


def default_runs(entries: Sequence[Entry], default: Candidate) -> list[Entry]:
    """Return the default's measurements that did not fail, in order of time."""
    found = [entry for entry in entries if entry.candidate == default and entry.figures is not None]
    return sorted(found, key=lambda entry: entry.at_s)


def noise(entries: Sequence[Entry], default: Candidate, goal: Goal) -> float:
    """Return by which share two equal candidates may differ: what the default differs by from one run to the next.

    Three of four changes of its score between runs next to each other in time, up or down, are at most that (the upper
    quartile: half of all equal candidates differ by more than the median does). It is 3 % at least.
    """
    scores = [entry.figures.score(goal) for entry in default_runs(entries, default) if entry.figures]
    changes = [max(after, before) / min(after, before) - 1 for before, after in pairwise(scores)]
    return max(SMALLEST_NOISE, float(np.quantile(changes, 0.75)) if changes else 0.0)


def _summary(candidate: Candidate, runs: Sequence[Entry], defaults: Sequence[Entry]) -> Summary:
    failure = next((entry.failure for entry in runs if entry.failure), None)
    measured = [(entry.at_s, entry.figures) for entry in runs if entry.figures is not None]
    if failure or not measured:
        return Summary(candidate, len(runs), None, failure=failure or "nothing was measured")
    corrected, ratio = _corrected(measured, defaults)
    return Summary(candidate, len(runs), corrected, ratio)


def _corrected(measured: Sequence[tuple[float, Figures]], defaults: Sequence[Entry]) -> tuple[Figures, float | None]:
    cpu = median(figures.cpu_ms_per_row for _, figures in measured)
    usual = _medians([entry.figures for entry in defaults if entry.figures is not None])
    if not usual:
        return Figures(**_medians([figures for _, figures in measured]), cpu_ms_per_row=cpu), None
    ratios = {name: median(_ratio(name, at_s, figures, defaults) for at_s, figures in measured) for name in _SPEEDS}
    speeds = {name: round(ratios[name] * usual[name], 3) for name in _SPEEDS}
    return Figures(**speeds, cpu_ms_per_row=cpu), ratios["rows_per_s"]


def _medians(measured: Sequence[Figures]) -> Mapping[str, float]:
    return {name: median(getattr(figures, name) for figures in measured) for name in _SPEEDS} if measured else {}


def _ratio(name: str, at_s: float, figures: Figures, defaults: Sequence[Entry]) -> float:
    nearest = min(defaults, key=lambda entry: abs(entry.at_s - at_s))
    return float(getattr(figures, name) / getattr(nearest.figures, name))
