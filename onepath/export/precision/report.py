"""The report on precisions: every attempt, every metric on every presence pattern, and every speed-up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import onnxruntime as ort

from onepath.contract.processor import this_processor
from onepath.export.bundles.sources import finite
from onepath.export.precision.attempts import Attempt
from onepath.export.precision.held_out import Split
from onepath.export.precision.judging import INTERVALS, Judgement
from onepath.export.precision.speed import WORTH, Speed

NOTES = {
    "intervals": INTERVALS,
    "speed": "the float32 graph's time divided by the other's, the median of paired rounds in one run, with the 95 % "
    "interval of that median by the sign test; on a CPU of one thread's own time, every modality present. A precision "
    "pays if a gain is resolved at one batch size at least and a loss at none, and the geometric mean of the ratios is "
    f"{WORTH:g} at least",
}
"""How the figures are made, in words."""


def machine() -> dict[str, str]:
    """Return the processor and the engine that the figures are of."""
    return {"cpu": this_processor().name, "onnxruntime": ort.__version__}


def attempt_json(attempt: Attempt) -> dict[str, Any]:  # JSON
    """Return one attempt, for the report."""
    made = attempt.made
    return {
        "form": attempt.form.words,
        "passes": not attempt.problem,
        "problem": attempt.problem,
        "parity": attempt.parity,
        "computed": {} if made is None else dict(made.notes),
        "kept_in_float32": {} if made is None else dict(made.kept),
        "measured": _judgement_json(attempt.judgement),
        "speed": _speed_json(attempt.speed),
        "untimed": attempt.untimed,
    }


def report_without(report: Mapping[str, Any], dropped: Mapping[str, str]) -> dict[str, Any]:  # JSON
    """Return a report in which graphs that were kept are dropped after all.

    Args:
        report: of every graph.
        dropped: precision in words, to the reason.
    """
    graphs = [_dropped(graph, dropped.get(graph["precision"])) for graph in report["graphs"]]
    return {**report, "graphs": graphs}


def _dropped(graph: Mapping[str, Any], reason: str | None) -> dict[str, Any]:  # JSON
    if reason is None:
        return dict(graph)
    fails = {"passes": False, "problem": reason}
    attempts = [attempt | fails if attempt["form"] == graph["form"] else attempt for attempt in graph["attempts"]]
    return {**graph, "outcome": "dropped", "form": None, "attempts": attempts}


def rows_json(split: Split) -> dict[str, Any]:  # JSON
    """Return how many rows were measured and calibrated on, for the report."""
    return {"measured": len(split.gate), "calibration": len(split.calibration), "disjoint": split.is_disjoint}


def _judgement_json(judgement: Judgement | None) -> list[dict[str, Any]]:  # JSON
    found: Sequence[Mapping[str, Any]] = [
        {
            "rows": measured.rows,
            "metric": measured.metric,
            "error": _short(measured.error),
            "limit": measured.limit,
            "interval": None if measured.interval is None else [_short(end) for end in measured.interval],
        }
        for measured in (judgement.measured if judgement else ())
    ]
    return [dict(finite(each)) for each in found]


def _speed_json(speed: Speed | None) -> list[dict[str, Any]]:  # JSON
    return [
        {"rows": each.rows, "ratio": _short(each.ratio), "interval": [_short(end) for end in each.interval]}
        for each in (speed.each if speed else ())
    ]


def _short(value: float) -> float:
    """Return a figure with six digits: more would be the rounding of one machine's sums."""
    return float(f"{value:.6g}") if math.isfinite(value) else value
