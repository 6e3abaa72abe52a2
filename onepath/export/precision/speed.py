"""How much faster graphs run than the float32 one: paired timings, taken in turns, with an interval of the median."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import comb

from onepath.export.precision.sessions import Run
from onepath.export.proofs import Batch
from onepath.export.recipe.precision import Machine

FEWEST_ROUNDS, MOST_ROUNDS = 9, 31
_TURN_S = 0.01  # a turn lasts at least so long, that the clock resolves it
_BUDGET_S = 30.0  # of all rounds at one batch size, unless the fewest take longer
_LEVEL = 0.95
WORTH = 1.05
"""How many times as fast as float32 a graph must be, the geometric mean over batch sizes, to be worth what it costs of
the answers."""


@dataclass(frozen=True)
class SpeedUp:
    """How much faster a graph is than the float32 one at one batch size.

    Attributes:
        rows: of a batch, every modality present.
        ratio: the float32 graph's time divided by this one's, the median of paired rounds.
        interval: of 95 %, of that median.
    """

    rows: int
    ratio: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Speed:
    """How much faster a graph is, at batch 1 and at the largest batch.

    Attributes:
        each: one speed-up a batch size.
    """

    each: tuple[SpeedUp, ...]

    @property
    def pays(self) -> bool:
        """Whether a gain is resolved at one size at least, a loss at none, and the mean gain is worth it."""
        return not self.problem

    @property
    def problem(self) -> str:
        """Why it does not pay; empty if it does."""
        slower = [str(speed.rows) for speed in self.each if speed.interval[1] < 1]
        if slower:
            return f"is slower than float32 at batch {' and '.join(slower)} here ({self})"
        if not any(speed.interval[0] > 1 for speed in self.each):
            return f"is not measurably faster than float32 here ({self})"
        return "" if self.gain >= WORTH else f"is not {WORTH:g} × as fast as float32 here ({self})"

    @property
    def gain(self) -> float:
        """The geometric mean of its ratios."""
        return statistics.geometric_mean(speed.ratio for speed in self.each)

    def __str__(self) -> str:
        return ", ".join(f"{speed.ratio:.2f} × at batch {speed.rows}" for speed in self.each)


def measured_speeds(
    reference: Run, candidates: Mapping[str, Run], batches: Mapping[int, Batch], *, machine: Machine
) -> dict[str, Speed]:
    """Return the speed of each graph against the float32 one.

    On a CPU it is the time of the calling thread that counts, which other programs on the machine do not lengthen: the
    graphs must run in that thread alone. On a GPU it is the time on the clock.

    Args:
        reference: runs the float32 graph.
        candidates: name to what runs another.
        batches: number of rows to a batch of so many.
        machine: where they run.
    """
    clock = time.thread_time if machine == "cpu" else time.perf_counter
    found: dict[str, list[SpeedUp]] = {name: [] for name in candidates}
    for rows, batch in batches.items():
        turns = {name: _turn(run, batch) for name, run in {"": reference, **candidates}.items()}
        seconds = _seconds(turns, clock)
        for name, ups in found.items():
            ratios = [before / after for before, after in zip(seconds[""], seconds[name], strict=True)]
            ups.append(SpeedUp(rows, statistics.median(ratios), median_interval(ratios)))
    return {name: Speed(tuple(ups)) for name, ups in found.items()}


def median_interval(values: list[float]) -> tuple[float, float]:
    """Return the 95 % confidence interval of a median: two of the values, by the signs of what is above and below.

    The outermost values are returned where there are too few (below six) for that confidence.

    >>> median_interval([3.0, 1.0, 2.0, 5.0, 4.0, 6.0])
    (1.0, 6.0)
    """
    ordered, count = sorted(values), len(values)
    outside, cut = 0.0, 0
    while outside + comb(count, cut) / 2**count <= (1 - _LEVEL) / 2:
        outside += comb(count, cut) / 2**count
        cut += 1
    place = max(0, cut - 1)
    return ordered[place], ordered[count - 1 - place]


@dataclass(frozen=True)
class _Turn:
    """As many runs as fill the shortest time of a turn."""

    run: Run
    batch: Batch
    runs: int

    def seconds(self, clock: Callable[[], float]) -> float:
        """Return the seconds of one run."""
        begin = clock()
        for _ in range(self.runs):
            self.run(self.batch)
        return (clock() - begin) / self.runs


def _turn(run: Run, batch: Batch) -> _Turn:
    run(batch)
    once = _Turn(run, batch, 1).seconds(time.perf_counter)
    return _Turn(run, batch, max(1, round(_TURN_S / max(once, 1e-6))))


def _seconds(turns: Mapping[str, _Turn], clock: Callable[[], float]) -> dict[str, list[float]]:
    """Return seconds of a run, one figure a round, in another order each round; the first does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    order, began = list(turns), time.perf_counter()
    for number in range(MOST_ROUNDS + 1):
        random.Random(number).shuffle(order)
        for name in order:
            took = turns[name].seconds(clock)
            if number:
                seconds[name].append(took)
        if number >= FEWEST_ROUNDS and time.perf_counter() - began > _BUDGET_S:
            break
    return seconds
