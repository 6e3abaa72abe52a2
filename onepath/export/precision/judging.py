"""Whether a graph in another precision passes its gate: every metric, on every presence pattern, against float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onepath.contract.distances import distance
from onepath.contract.presence import pattern_name
from onepath.contract.proofs import Measurement, Metric
from onepath.export.precision.gates import PrecisionGate
from onepath.export.precision.held_out import Answered, Rows
from onepath.export.robustness.answers import Pattern
from onepath.export.robustness.intervals import bonett_price, wilson

INTERVALS = (
    "of 95 %: flips are a share with Wilson's score interval; accuracy losses are paired row by row, with Bonett and "
    "Price's adjusted Wald interval. A gate holds the figure, not the end of its interval"
)
"""How the intervals are made, in words."""
MIXED, SINGLE = "together against float32", "one by one against float32"
ALONE = "one by one against together"
"""How rows of mixed patterns are compared, which share a batch or have one each; every other batch is of one pattern.
The last tells how far a row's answer depends on its company."""
_COMPARISONS = (MIXED, SINGLE, ALONE)
_IN_WORDS: dict[Metric, str] = {
    "max_abs": "largest difference",
    "max_relative": "largest relative difference",
    "mean_abs": "mean difference",
    "cosine_distance": "cosine distance",
    "flips": "share of flips",
    "accuracy_loss": "accuracy loss",
}


@dataclass(frozen=True)
class Measured:
    """One metric on one presence pattern.

    Attributes:
        rows: which, in words: a pattern's name.
        metric: how two answers are compared.
        error: how far they are apart; infinite if one is not a number.
        limit: what it may be.
        interval: of 95 %, where the error is one of a sample.
    """

    rows: str
    metric: Metric
    error: float
    limit: float
    interval: tuple[float, float] | None = None

    @property
    def passes(self) -> bool:
        """Whether the error is within its limit."""
        return self.error <= self.limit

    def __str__(self) -> str:
        rows = f"on mixed rows, {self.rows}" if self.rows in _COMPARISONS else f"with {self.rows}"
        return f"{_IN_WORDS[self.metric]} is {self.error:.3g} {rows}, over {self.limit:.3g}"


@dataclass(frozen=True)
class Judgement:
    """What was measured of one graph.

    Attributes:
        count: held-out rows of each pattern.
        measured: every metric on every pattern.
        problems: what is wrong beside the metrics, in words.
    """

    count: int
    measured: Sequence[Measured]
    problems: Sequence[str] = ()

    @property
    def passes(self) -> bool:
        """Whether everything is within its limit."""
        return not self.problems and all(measured.passes for measured in self.measured)

    @property
    def reason(self) -> str:
        """Why it does not pass, the metric that is farthest over its limit; empty if it does."""
        if self.problems:
            return self.problems[0]
        over = [measured for measured in self.measured if not measured.passes]
        worst = max(over, key=lambda measured: measured.error / max(measured.limit, 1e-12), default=None)
        return "" if worst is None else f"its {worst}"

    def measurements(self) -> tuple[Measurement, ...]:
        """Return one measurement a metric, that of the worst pattern, for the proof chain."""
        return tuple(self._measurement(group) for group in self._groups())

    def _groups(self) -> Iterator[list[Measured]]:
        patterns = [measured for measured in self.measured if measured.rows not in _COMPARISONS]
        for metric in dict.fromkeys(measured.metric for measured in patterns):
            yield [measured for measured in patterns if measured.metric == metric]
        yield from ([measured] for measured in self.measured if measured.rows in _COMPARISONS)

    def _measurement(self, group: Sequence[Measured]) -> Measurement:
        worst = max(group, key=lambda measured: measured.error)
        which = f"{self.count} held-out rows of each of {len(group)} presence patterns, worst with {worst.rows}"
        return Measurement(
            inputs=f"held-out rows of mixed patterns, {worst.rows}" if worst.rows in _COMPARISONS else which,
            error=worst.error,
            tolerance=worst.limit,
            metric=worst.metric,
            interval=worst.interval,
        )


def judge(
    reference: Answered, candidate: Answered, *, targets: Sequence[int], task: str, gate: PrecisionGate
) -> Judgement:
    """Return how far a graph's answers are from the float32 graph's.

    Args:
        reference: the float32 graph's.
        candidate: the other's, to the same rows.
        targets: the class index of each row, or none: flips then stand alone. An embedding has neither.
        task: `classification` or `embedding`.
        gate: the limits.
    """
    spread: Metric = "max_abs" if task == "classification" else "max_relative"
    measured = [
        each
        for pattern, rows in reference.first.items()
        for each in _of_pattern(pattern, rows, candidate.first[pattern], _Task(targets, task, gate))
    ]
    compared = {
        MIXED: (reference.together, candidate.together),
        SINGLE: (reference.alone, candidate.alone),
        ALONE: (candidate.alone, candidate.together),
    }
    measured += [
        Measured(rows, spread, distance(one, other, spread), gate.limit(spread))
        for rows, (one, other) in compared.items()
    ]
    count = len(next(iter(reference.first.values())))
    return Judgement(count, measured, [*_problems(reference, candidate)])


@dataclass(frozen=True)
class _Task:
    targets: Sequence[int]
    task: str
    gate: PrecisionGate


def _of_pattern(pattern: Pattern, reference: Rows, candidate: Rows, given: _Task) -> Iterator[Measured]:
    name, gate = pattern_name(pattern), given.gate
    embeds = given.task != "classification"
    metrics: tuple[Metric, ...] = ("max_relative",) if embeds else ("max_abs", "mean_abs")
    for metric in (*metrics, "cosine_distance"):
        yield Measured(name, metric, distance(reference, candidate, metric), gate.limit(metric))
    if not embeds:
        yield _flips(name, reference, candidate, gate)
    if not embeds and len(given.targets):
        yield _accuracy_loss(name, _right(reference, given.targets), _right(candidate, given.targets), gate)


def _flips(name: str, reference: Rows, candidate: Rows, gate: PrecisionGate) -> Measured:
    flipped = int((reference.argmax(axis=1) != candidate.argmax(axis=1)).sum())
    interval = wilson(flipped, len(reference))
    return Measured(name, "flips", flipped / len(reference), gate.flips, interval)


def _accuracy_loss(name: str, before: NDArray[np.bool_], after: NDArray[np.bool_], gate: PrecisionGate) -> Measured:
    lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
    interval = bonett_price(lost, gained, len(before))
    return Measured(name, "accuracy_loss", (lost - gained) / len(before), gate.accuracy_loss, interval)


def _right(scores: Rows, targets: Sequence[int]) -> NDArray[np.bool_]:
    right: NDArray[np.bool_] = scores.argmax(axis=1) == np.asarray(targets)
    return right


def _problems(reference: Answered, candidate: Answered) -> Iterator[str]:
    """Yield what no tolerance allows: other presence or row status, or anything but zeros for an empty row."""
    for pattern, marks in reference.marks.items():
        if not np.array_equal(marks, candidate.marks[pattern]):
            yield f"its presence or row status differs with {pattern_name(pattern)}"
    if not np.array_equal(reference.empty, candidate.empty):
        yield "rows that have nothing get other answers than the float32 graph's"
