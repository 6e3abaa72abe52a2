"""What a bundle's proofs are held against when they are measured again: one check a comparison."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from onepath.contract.distances import Rows, distance
from onepath.contract.proofs import Metric

Verdict = Literal["ok", "broken", "not measured"]

_ROUNDING = 1e-12
"""How far an error may be over the recorded one: the same numbers, added up in another order."""


@dataclass(frozen=True)
class Check:
    """One measurement that was made again, or why it could not be.

    Attributes:
        subject: the proof step, or the graph.
        measured: on what, in words.
        verdict: whether it holds.
        metric: how the two are compared.
        error: as measured now.
        recorded: what the bundle says that it was.
        tolerance: what it may be.
        note: what is wrong, or why it was not measured.
    """

    subject: str
    measured: str
    verdict: Verdict
    metric: Metric | None = None
    error: float | None = None
    recorded: float | None = None
    tolerance: float | None = None
    note: str = ""


def compared(
    subject: str,
    measured: str,
    answers: tuple[Rows, Rows],
    *,
    tolerance: float,
    metric: Metric = "max_abs",
    recorded: float | None = None,
) -> Check:
    """Return a check of how far two answers are apart.

    Args:
        subject: the proof step, or the graph.
        measured: on what, in words.
        answers: the reference, and what is judged.
        tolerance: what the distance may be.
        metric: how they are compared.
        recorded: what it was when the bundle was built, where these very answers were compared then.
    """
    error = distance(*answers, metric)
    return judged(subject, measured, error, tolerance=tolerance, metric=metric, recorded=recorded)


def judged(
    subject: str,
    measured: str,
    error: float,
    *,
    tolerance: float,
    metric: Metric = "max_abs",
    recorded: float | None = None,
) -> Check:
    """Return a check of a distance that is known already; see `compared`."""
    note = ""
    if not error <= tolerance:
        note = f"is off by {error:.3g}, over {tolerance:.3g}"
    elif recorded is not None and error > recorded + _ROUNDING:
        note = f"is off by {error:.3g}, and the bundle says {recorded:.3g}"
    return Check(subject, measured, "broken" if note else "ok", metric, error, recorded, tolerance, note)


def first_broken(checks: Iterable[Check]) -> Check | None:
    """Return the first check that does not hold, or None."""
    return next((check for check in checks if check.verdict == "broken"), None)
