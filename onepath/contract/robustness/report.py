"""The robustness report of a bundle: how good it is with each presence pattern, as its JSON file holds it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from onepath.contract.errors import BundleIntegrityError
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
        encoders_left_out: modality to the reason why there is no figure of its encoder: there is none, or it does not
            fit.
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
