"""What a tuning run found: every candidate, the front, the verdict on each precision, and the choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onepath.contract.tensors import Closed
from onepath.tuning.candidates import Candidate
from onepath.tuning.choice import Verdict, choose, is_within, verdicts
from onepath.tuning.comparing import Summary, noise, summaries
from onepath.tuning.errors import TuningError
from onepath.tuning.figures import Figures
from onepath.tuning.front import front_from_points
from onepath.tuning.journal import Context, Entry
from onepath.tuning.settings import Goal

NOTE = (
    "The clients ran on the machine of the server and shared its cores. A figure is the median over a candidate's runs "
    "of its ratio to the run of the default that is nearest in time, times the default's median; cpu_ms_per_row is the "
    "median of what was measured."
)


class Measured(Closed):
    """One candidate.

    Attributes:
        name: it, in words: precision, instances × threads, and what else is not as in the default.
        candidate: it.
        figures: corrected for drift; None where it failed.
        ratio: rows a second divided by those of the default.
        runs: the figures of each run as they were measured.
        failure: why it failed.
        is_default: whether it is what is deployed where nobody says anything.
        is_chosen: whether it was chosen.
        is_within: whether it keeps the bounds.
        is_on_front: whether no other one with as many rows a request has both more throughput and less latency.
    """

    name: str
    candidate: Candidate
    figures: Figures | None
    ratio: float | None
    runs: tuple[Figures, ...]
    failure: str | None
    is_default: bool
    is_chosen: bool
    is_within: bool
    is_on_front: bool


class TuningReport(Closed):
    """The result of a tuning run.

    Attributes:
        name: the bundle's.
        context: the bundle's id without what tuning wrote, the machine, and the load.
        goal: what was asked for.
        noise: by which share two equal candidates may differ.
        note: how the figures were made.
        finished: whether nothing was left to measure when it ended.
        measured: every candidate, in the order in which they were first measured.
        verdicts: how each precision does beside float32.
    """

    name: str
    context: Context
    goal: Goal
    noise: float
    note: str = NOTE
    finished: bool
    measured: tuple[Measured, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def chosen(self) -> Measured | None:
        """The candidate that was chosen; None if none keeps the bounds."""
        return next((each for each in self.measured if each.is_chosen), None)

    @property
    def default(self) -> Measured | None:
        """What is deployed where nobody says anything; None if it was not measured."""
        return next((each for each in self.measured if each.is_default), None)

    @property
    def deployment(self) -> dict[str, Any]:  # JSON
        """The chosen deployment settings as a manifest holds them; empty if there are none."""
        if self.chosen is None:
            return {}
        settings = self.chosen.candidate.settings
        # On a CPU there is no choice between engines; a GPU that it is deployed to later may have some.
        return settings.model_dump(mode="json", exclude={"engine"} if settings.kind == "cpu" else None)


def report_from_entries(
    name: str, context: Context, entries: Sequence[Entry], *, default: Candidate, goal: Goal, finished: bool
) -> TuningReport:
    """Return the report of what was measured.

    Args:
        name: the bundle's.
        context: of the measurements.
        entries: the measurements.
        default: what is deployed where nobody says anything.
        goal: what is best.
        finished: whether nothing was left to measure.
    """
    spread = noise(entries, default, goal)
    found = list(summaries(entries, default).values())
    chosen, front = choose(found, default, goal, spread), _front(found, default, goal)
    return TuningReport(
        name=name,
        context=context,
        goal=goal,
        noise=spread,
        finished=finished,
        verdicts=verdicts(found, default, goal, spread),
        measured=tuple(
            Measured(
                name=summary.candidate.words(default),
                candidate=summary.candidate,
                figures=summary.figures,
                ratio=summary.ratio,
                runs=_runs(entries, summary.candidate),
                failure=summary.failure,
                is_default=summary.candidate == default,
                is_chosen=chosen is summary,
                is_within=is_within(summary, goal),
                is_on_front=summary.candidate in front,
            )
            for summary in found
        ),
    )


def _front(found: Sequence[Summary], default: Candidate, goal: Goal) -> set[Candidate]:
    measured = [
        (summary.candidate, (summary.figures.latency_ms(goal.percentile), summary.figures.rows_per_s))
        for summary in found
        if summary.figures is not None and summary.candidate.rows == default.rows
    ]
    return {measured[index][0] for index in front_from_points([point for _, point in measured])}


def _runs(entries: Sequence[Entry], candidate: Candidate) -> tuple[Figures, ...]:
    return tuple(entry.figures for entry in entries if entry.candidate == candidate and entry.figures is not None)


def check_choice(report: TuningReport) -> Measured:
    """Return the choice.

    Raises:
        TuningError: none keeps the bounds; it says which came nearest.
    """
    if report.chosen is not None:
        return report.chosen
    goal = report.goal
    bounds = f"a {goal.percentile} latency of {goal.latency_ms:g} ms"
    bounds += f" and {goal.min_rows_per_s:g} rows a second" if goal.min_rows_per_s else ""
    measured = [
        (each.figures.latency_ms(goal.percentile), each)
        for each in report.measured
        if each.figures is not None and each.candidate.rows == report.context.load.rows
    ]
    if not measured:
        reason = next((each.failure for each in report.measured if each.failure), "nothing was measured")
        raise TuningError(f"no settings could be measured, and nothing was written: {reason}")
    latency_ms, best = min(measured, key=lambda pair: pair[0])
    speed = 0.0 if best.figures is None else best.figures.rows_per_s
    raise TuningError(
        f"no settings keep {bounds}; the fastest, {best.name}, have {latency_ms:.1f} ms at {speed:.0f} rows a second. "
        "Nothing was written: allow more with --latency-ms, ask for less with --min-rows-per-s, --concurrency or "
        "--rows, or build a faster precision"
    )
