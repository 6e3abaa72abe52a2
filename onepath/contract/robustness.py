"""What a bundle says of rows that lack modalities: its robustness report, and the table that a person reads of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from onepath.contract.errors import BundleIntegrityError
from onepath.contract.presence import pattern_name
from onepath.contract.strict_json import json_from_bytes
from onepath.contract.tensors import Closed

ROBUSTNESS = "reports/robustness.json"
"""Where a bundle has its report."""
HEAT_MAP = "reports/robustness.png"
"""Where it has the picture of it."""
ROBUSTNESS_VERSION: Literal[1] = 1

TaskMetric = Literal["accuracy", "nearest_neighbour_accuracy", "agreement"]
"""What a pattern is judged by: the share of rows answered correctly; that of rows whose nearest other embedding has
the same target; or, without targets, how far the answers agree with those to the same rows with every modality."""


class Estimate(Closed):
    """A figure of a sample of rows, with its 95 % confidence interval, in the figure's own unit.

    Attributes:
        value: on the rows themselves.
        low: lower end of the interval.
        high: upper end.
    """

    value: float = Field(allow_inf_nan=False)
    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)


class ZeroFilling(Closed):
    """The same model, told that everything is present, with zeros for the values of what is missing.

    Attributes:
        metric: of that.
        gain: the pattern's own metric less that, row by row; above 0, presence is better than zeros.
    """

    metric: Estimate
    gain: Estimate


class PatternResult(Closed):
    """What a model answers with one presence pattern.

    Attributes:
        present: the pattern.
        metric: the report's metric.
        agreement: with the same model's answers to the same rows with every modality: the share of rows with the same
            highest score, or the mean cosine of their embeddings.
        gain_over_encoder: modality to this pattern's metric less that of the modality's encoder alone, row by row.
        zero_filling: None where nothing is missing.
    """

    present: tuple[str, ...] = Field(min_length=1)
    metric: Estimate
    agreement: Estimate
    gain_over_encoder: dict[str, Estimate] = Field(default_factory=dict)
    zero_filling: ZeroFilling | None = None


class RobustnessReport(Closed):
    """How good a model is with each presence pattern, on held-out rows.

    Attributes:
        schema_version: the version of this format.
        task: the model's.
        metric: what the patterns are judged by.
        modalities: in the order of the presence columns.
        rows: how many held-out rows each figure is of, the same ones everywhere.
        rows_available: how many there were.
        patterns_accepted: how many presence patterns the model accepts.
        seed: of what was drawn: rows where there are more than asked for, patterns where there are too many.
        encoders: modality to the metric of its encoder alone.
        encoders_left_out: modality to the reason why its encoder could not be compared.
        patterns: the smallest first; the last is that of every modality.
        notes: how the figures and their intervals are made, in words.
    """

    schema_version: Literal[1] = ROBUSTNESS_VERSION
    task: Literal["classification", "embedding"]
    metric: TaskMetric
    modalities: tuple[str, ...] = Field(min_length=1)
    rows: int = Field(ge=1)
    rows_available: int = Field(ge=1)
    patterns_accepted: int = Field(ge=1)
    seed: int = Field(ge=0)
    encoders: dict[str, Estimate] = Field(default_factory=dict)
    encoders_left_out: dict[str, str] = Field(default_factory=dict)
    patterns: tuple[PatternResult, ...] = Field(min_length=1)
    notes: dict[str, str] = Field(default_factory=dict)

    @property
    def full(self) -> PatternResult:
        """The pattern of every modality."""
        return self.patterns[-1]

    @property
    def accuracy(self) -> float | None:
        """The share of rows with every modality that are answered correctly; None where that is not the metric."""
        return self.full.metric.value if self.metric == "accuracy" else None

    @property
    def is_sampled(self) -> bool:
        """Whether the model accepts more patterns than were measured."""
        return len(self.patterns) < self.patterns_accepted

    def is_share(self, metric: TaskMetric) -> bool:
        """Return whether a metric counts rows; the agreement of embeddings does not, it is a cosine."""
        return self.task == "classification" or metric != "agreement"

    def pattern(self, present: Iterable[str]) -> PatternResult | None:
        """Return what was measured of a pattern, given in any order; None where it was not."""
        wanted = {*present}
        return next((result for result in self.patterns if {*result.present} == wanted), None)

    def as_json(self) -> dict[str, Any]:  # JSON
        """Return the report as a bundle holds it."""
        return self.model_dump(mode="json")


def robustness_from_bundle(folder: Path) -> RobustnessReport | None:
    """Return the robustness report of the bundle in a folder; None where it has none.

    Raises:
        BundleIntegrityError: the report cannot be read, or is from a newer onepath.
    """
    path = folder / ROBUSTNESS
    if not path.is_file():
        return None
    encoded = path.read_bytes()
    try:
        version = json_from_bytes(encoded)["schema_version"]
        if version != ROBUSTNESS_VERSION:
            raise BundleIntegrityError(
                ROBUSTNESS,
                f"has schema version {version}, and this onepath reads version {ROBUSTNESS_VERSION}",
                root=str(folder),
                advice="use the onepath release that wrote it, or a newer one",
            )
        return RobustnessReport.model_validate_json(encoded)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        first = " ".join(str(error).splitlines()[:3])
        problem = f"is not a valid robustness report ({first})"
        raise BundleIntegrityError(ROBUSTNESS, problem, root=str(folder)) from error


def table_headings(report: RobustnessReport) -> list[str]:
    """Return the headings of `table_rows`."""
    unit = "points" if report.is_share(report.metric) else "cosine"
    own = [] if report.metric == "agreement" else [_heading("agreement", report)]
    best = [f"gain over the best encoder of them, {unit}"] if report.encoders else []
    return ["present", _heading(report.metric, report), *own, *best, f"gain over zero-filling, {unit}"]


def table_rows(report: RobustnessReport) -> list[list[str]]:
    """Return the cells of a table for a person, a row for each pattern, with 95 % confidence intervals."""
    is_share = report.is_share(report.metric)
    return [
        [
            pattern_name(result.present),
            estimate_text(result.metric, is_share=is_share),
            *_agreement_cells(result, report),
            *([_best_encoder(result, report)] if report.encoders else []),
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
    value, low, high = (number_text(x, is_share=is_share, signed=signed) for x in (estimate.value, *_ends(estimate)))
    return f"{value} ({low} to {high})"


def number_text(value: float, *, is_share: bool, signed: bool = False) -> str:
    """Return one figure for a person: a share in percent, others as they are.

    >>> number_text(0.9, is_share=True), number_text(-0.00001, is_share=True, signed=True)
    ('90.0', '+0.0')
    """
    digits = 1 if is_share else 3
    shown = round(value * 100 if is_share else value, digits) + 0.0  # no -0.0
    return f"{shown:{'+' if signed else ''}.{digits}f}"


def _ends(estimate: Estimate) -> tuple[float, float]:
    return estimate.low, estimate.high


def _heading(metric: TaskMetric, report: RobustnessReport) -> str:
    unit = "%" if report.is_share(metric) else "cosine"
    return f"{metric.replace('_', ' ')}, {unit}"


def _agreement_cells(result: PatternResult, report: RobustnessReport) -> list[str]:
    if report.metric == "agreement":
        return []
    return [estimate_text(result.agreement, is_share=report.is_share("agreement"))]


def _best_encoder(result: PatternResult, report: RobustnessReport) -> str:
    """Return the gain over the encoder that is the best alone among those of a pattern, and its name."""
    own = {name: report.encoders[name].value for name in result.present if name in report.encoders}
    if not own:
        return ""
    best = max(own, key=own.__getitem__)
    gain = estimate_text(result.gain_over_encoder[best], is_share=report.is_share(report.metric), signed=True)
    return f"{gain}, {best}"
