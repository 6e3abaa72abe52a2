"""The table that a person reads of a robustness report, and how its figures are written."""

from __future__ import annotations

from onepath.contract.presence import pattern_name
from onepath.contract.robustness.report import Estimate, PatternResult, RobustnessReport, TaskMetric

NOT_COMPARED = "not compared"
"""The gain of a pattern none of whose modalities has an encoder to compare with; the report says why."""


def table_headings(report: RobustnessReport) -> list[str]:
    """Return the headings of `table_rows`."""
    unit = "points" if report.is_share(report.metric) else "cosine"
    own = [] if report.metric == "agreement" else [_heading("agreement", report)]
    best = [f"gain over the best encoder of them, {unit}"] if _has_encoders(report) else []
    return ["present", _heading(report.metric, report), *own, *best, f"gain over zero-filling, {unit}"]


def table_rows(report: RobustnessReport) -> list[list[str]]:
    """Return the cells of a table for a person, a row for each pattern, with 95 % confidence intervals."""
    is_share = report.is_share(report.metric)
    return [
        [
            pattern_name(result.present),
            estimate_text(result.metric, is_share=is_share),
            *_agreement_cells(result, report),
            *([_best_encoder(result, report)] if _has_encoders(report) else []),
            estimate_text(result.zero_filling.gain, is_share=is_share, signed=True) if result.zero_filling else "",
        ]
        for result in report.patterns
    ]


def estimate_text(estimate: Estimate, *, is_share: bool, signed: bool = False) -> str:
    """Return a figure and its interval for a person: shares in percent, others as they are.

    >>> estimate_text(Estimate(value=0.9, low=0.8512, high=0.9345), is_share=True)
    '90.0 (85.1 to 93.5)'
    >>> estimate_text(Estimate(value=-0.25, low=-0.5, high=0.0), is_share=False, signed=True)
    '-0.250 (-0.500 to +0.000)'
    """
    figures = (estimate.value, estimate.low, estimate.high)
    value, low, high = (number_text(figure, is_share=is_share, signed=signed) for figure in figures)
    return f"{value} ({low} to {high})"


def number_text(value: float, *, is_share: bool, signed: bool = False) -> str:
    """Return one figure for a person: a share in percent, others as they are.

    >>> number_text(0.9, is_share=True), number_text(-0.00001, is_share=True, signed=True)
    ('90.0', '+0.0')
    """
    digits = 1 if is_share else 3
    shown = round(value * 100 if is_share else value, digits) + 0.0  # no -0.0
    return f"{shown:{'+' if signed else ''}.{digits}f}"


def _heading(metric: TaskMetric, report: RobustnessReport) -> str:
    unit = "%" if report.is_share(metric) else "cosine"
    return f"{metric.replace('_', ' ')}, {unit}"


def _agreement_cells(result: PatternResult, report: RobustnessReport) -> list[str]:
    if report.metric == "agreement":
        return []
    return [estimate_text(result.agreement, is_share=report.is_share("agreement"))]


def _has_encoders(report: RobustnessReport) -> bool:
    """Return whether there is anything to say of encoders: gains over them, or that there are none to be had."""
    return bool(report.encoders or report.encoders_left_out)


def _best_encoder(result: PatternResult, report: RobustnessReport) -> str:
    """Return the gain over the encoder that is the best alone among those of a pattern, and its name."""
    own = {name: report.encoders[name].value for name in result.present if name in report.encoders}
    if not own:
        return NOT_COMPARED
    best = max(own, key=own.__getitem__)
    gain = estimate_text(result.gain_over_encoder[best], is_share=report.is_share(report.metric), signed=True)
    return f"{gain}, {best}"
