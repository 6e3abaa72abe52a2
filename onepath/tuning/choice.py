"""Which candidate is chosen: the best within the bounds, and of those that noise does not tell apart, the plainest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from onepath.contract.graphs import PRECISIONS, Precision
from onepath.contract.tensors import Closed
from onepath.tuning.candidates import Candidate
from onepath.tuning.comparing import Summary
from onepath.tuning.settings import Goal

Result = Literal["wins", "ties", "loses"]


class Verdict(Closed):
    """How a precision does beside float32 on this machine.

    Attributes:
        precision: the one.
        settings: the settings, in words, that both were measured with; of several, those with which it did best.
        ratio: its score divided by float32's.
        result: whether that is more than noise, and in whose favour.
    """

    precision: Precision
    settings: str
    ratio: float
    result: Result


def verdicts(found: Iterable[Summary], default: Candidate, goal: Goal, noise: float) -> tuple[Verdict, ...]:
    """Return one verdict for each precision but float32 that was measured with the same settings as float32."""
    made = []
    for precision, (mine, reference) in rivals(found, goal).items():
        ratio, words = score_of(mine, goal) / score_of(reference, goal), mine.candidate.words(default)
        made.append(Verdict(precision=precision, settings=words, ratio=ratio, result=_result(ratio, noise)))
    return tuple(made)


def rivals(found: Iterable[Summary], goal: Goal) -> dict[Precision, tuple[Summary, Summary]]:
    """Return for each precision but float32 the best candidate that float32 was measured beside, and that of float32.

    Args:
        found: what was measured.
        goal: what is best.
    """
    measured = {summary.candidate: summary for summary in found if summary.figures is not None}
    best: dict[Precision, tuple[Summary, Summary]] = {}
    for candidate, summary in measured.items():
        precision = candidate.settings.precision or "fp32"
        same = [candidate.changed(precision="fp32", engine=engine) for engine in ("never", "require", "auto")]
        beside = [measured[each] for each in same if each in measured]
        highest = score_of(best[precision][0], goal) if precision in best else 0.0
        if precision != "fp32" and beside and score_of(summary, goal) > highest:
            best[precision] = summary, max(beside, key=lambda each: score_of(each, goal))
    return {precision: best[precision] for precision in PRECISIONS if precision in best}


def is_within(summary: Summary, goal: Goal) -> bool:
    """Return whether a candidate was measured and keeps both bounds."""
    figures = summary.figures
    if figures is None:
        return False
    return figures.latency_ms(goal.percentile) <= goal.latency_ms and figures.rows_per_s >= goal.min_rows_per_s


def choose(found: Sequence[Summary], default: Candidate, goal: Goal, noise: float) -> Summary | None:
    """Return the chosen candidate, or None if none is within the bounds.

    Candidates of another number of rows a request, and those in a precision that loses to float32 here, are out. Among
    those whose score is within the noise of the best one's, the one that differs least from the default is taken; one
    that another of these outdoes, as good in the score and clearly better in the other of latency and throughput, is
    not.

    Args:
        found: what was measured.
        default: what is deployed where nobody says anything.
        goal: the bounds, and what is best.
        noise: by which share two equal candidates may differ.
    """
    lost = {verdict.precision for verdict in verdicts(found, default, goal, noise) if verdict.result == "loses"}
    within = [
        summary
        for summary in found
        if is_within(summary, goal)
        and summary.candidate.rows == default.rows
        and summary.candidate.settings.precision not in lost
    ]
    if not within:
        return None
    best = max(score_of(summary, goal) for summary in within)
    ties = [summary for summary in within if score_of(summary, goal) * (1 + noise) >= best]
    kept = [summary for summary in ties if not any(_outdoes(other, summary, goal, noise) for other in ties)]
    return min(kept, key=lambda summary: (*_plainness(summary.candidate, default), -score_of(summary, goal)))


def _outdoes(first: Summary, second: Summary, goal: Goal, noise: float) -> bool:
    """Return whether the first is as good in the score, and better in the other one by more than twice the noise.

    The score's own noise is known; a percentile of the latency has more of it than the throughput.
    """
    other = goal.model_copy(update={"objective": "latency" if goal.objective == "throughput" else "throughput"})
    better = score_of(first, other) > score_of(second, other) * (1 + 2 * noise)
    return better and score_of(first, goal) >= score_of(second, goal)


def fastest(found: Iterable[Summary], default: Candidate, goal: Goal) -> Summary | None:
    """Return the candidate of the lowest latency, whatever the bounds; None if nothing was measured."""
    measured = [each for each in found if each.figures is not None and each.candidate.rows == default.rows]
    return min(measured, key=lambda each: _latency_ms(each, goal), default=None)


def score_of(summary: Summary, goal: Goal) -> float:
    """Return what is compared, higher being better; 0 where the candidate failed."""
    return 0.0 if summary.figures is None else summary.figures.score(goal)


def _latency_ms(summary: Summary, goal: Goal) -> float:
    return float("inf") if summary.figures is None else summary.figures.latency_ms(goal.percentile)


def _result(ratio: float, noise: float) -> Result:
    if ratio > 1 + noise:
        return "wins"
    return "loses" if ratio * (1 + noise) < 1 else "ties"


def _plainness(candidate: Candidate, default: Candidate) -> tuple[int, ...]:
    """Return how far settings are from the default, then what they cost; the least is the plainest."""
    mine, usual = candidate.settings, default.settings
    differing = sum(value != getattr(usual, name) for name, value in mine)
    layout = (mine.intra_op_threads, mine.graph_count, mine.preprocess_count)
    return (differing, PRECISIONS.index(mine.precision or "fp32"), *layout, mine.max_queue_delay_us)
