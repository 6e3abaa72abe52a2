"""The robustness report: every presence pattern against each encoder alone, and against zeros filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from onepath.contract.errors import RecipeError
from onepath.contract.presence import accepted_patterns, sampled_patterns
from onepath.contract.robustness import Estimate, PatternResult, RobustnessReport, ZeroFilling
from onepath.export.robustness.answers import Answers, Pattern, answers_to_rows, batches_of_rows
from onepath.export.robustness.encoders import Encoder
from onepath.export.robustness.intervals import MEANS, SHARES, PerRow, difference, estimate
from onepath.export.robustness.metrics import NOTES, Answer, Judge
from onepath.export.rows import RowSource

Task = Literal["classification", "embedding"]
_ZERO_FILLING = (
    "zero-filling is the same model, told that everything is present, with zeros for the values of what is missing"
)


@dataclass(frozen=True)
class ReportSettings:
    """How a report is made.

    Attributes:
        max_batch_size: the most rows of one run.
        seed: of what is drawn: rows where there are more than asked for, patterns where there are too many.
        rows: the most held-out rows.
        patterns: the most presence patterns; with 64, all of up to six modalities that may be missing.
        always: patterns to measure in any case, such as those that have a gate.
    """

    max_batch_size: int
    seed: int = 0
    rows: int = 1000
    patterns: int = 64
    always: Sequence[Pattern] = ()


def robustness_report(
    graph: Path,
    *,
    source: RowSource,
    targets: Sequence[int],
    task: Task,
    encoders: Mapping[str, Encoder],
    settings: ReportSettings,
    without_encoder: Mapping[str, str] | None = None,
) -> RobustnessReport:
    """Return how good a graph is with each presence pattern; equal arguments give equal reports.

    Args:
        graph: the ONNX file that is served, of a presence graph.
        source: its modalities and held-out rows, which `check_rows` found in order.
        targets: the class index of each of the source's rows, or none.
        task: of the graph's first output.
        encoders: modality to `values (rows, …) -> logits` or embeddings `(rows, width)`, to compare with; those that do
            not fit are left out with a reason.
        settings: batch size, seed and bounds.
        without_encoder: modality to the reason why there is no encoder to give, for the report.

    Raises:
        RecipeError: there are targets, but not one for each row.
    """
    if targets and len(targets) != len(source.rows):
        raise RecipeError("held-out rows", [("targets", f"there are {len(targets)}, and {len(source.rows)} rows")])
    rows = chosen_rows(len(source.rows), settings.rows, settings.seed)
    required = [entry.name for entry in source.modalities if entry.absent == "required"]
    found = answers_to_rows(
        graph,
        batches_of_rows(source, rows, settings.max_batch_size),
        modalities=source.names,
        patterns=sampled_patterns(
            source.names, required=required, always=settings.always, limit=settings.patterns, seed=settings.seed
        ),
        encoders=encoders,
    )
    judge = Judge(task, [targets[row] for row in rows] if targets else [], found.patterns[tuple(source.names)])
    fitting, left_out = _encoders(found, judge)
    alone = {name: judge.figures(answer) for name, answer in fitting.items()}
    return RobustnessReport(
        task=task,
        metric=judge.metric,
        modalities=tuple(source.names),
        rows=len(rows),
        rows_available=len(source.rows),
        patterns_accepted=accepted_patterns(source.names, required),
        seed=settings.seed,
        encoders={name: estimate(figures, is_share=judge.is_share(judge.metric)) for name, figures in alone.items()},
        encoders_left_out={**dict(without_encoder or {}), **left_out},
        patterns=tuple(_result(pattern, found, judge, alone) for pattern in found.patterns),
        notes=_notes(judge),
    )


def chosen_rows(available: int, most: int, seed: int) -> list[int]:
    """Return the indices of all rows, or of as many as there may be, drawn and in their order."""
    if available <= most:
        return list(range(available))
    drawn = np.random.default_rng(seed).choice(available, most, replace=False)
    return sorted(int(index) for index in drawn)


def _encoders(found: Answers, judge: Judge) -> tuple[dict[str, Answer], dict[str, str]]:
    misfits = {name: judge.misfit(answer) for name, answer in found.encoders.items()}
    fitting = {name: answer for name, answer in found.encoders.items() if misfits[name] is None}
    return fitting, {**found.left_out, **{name: reason for name, reason in misfits.items() if reason}}


def _result(pattern: Pattern, found: Answers, judge: Judge, alone: Mapping[str, PerRow]) -> PatternResult:
    figures, is_share = judge.figures(found.patterns[pattern]), judge.is_share(judge.metric)
    agreement = _agreement(pattern, found, judge)
    zeros = found.zero_filled.get(pattern)
    return PatternResult(
        present=pattern,
        metric=agreement if judge.metric == "agreement" else estimate(figures, is_share=is_share),
        agreement=agreement,
        gain_over_encoder={name: difference(figures, others, is_share=is_share) for name, others in alone.items()},
        zero_filling=None if zeros is None else _zero_filling(figures, judge.figures(zeros), is_share=is_share),
    )


def _agreement(pattern: Pattern, found: Answers, judge: Judge) -> Estimate:
    if pattern not in found.zero_filled:  # nothing is missing: these answers are the reference
        return Estimate(value=1.0, low=1.0, high=1.0)
    return estimate(judge.agreement(found.patterns[pattern]), is_share=judge.is_share("agreement"))


def _zero_filling(figures: PerRow, zeros: PerRow, *, is_share: bool) -> ZeroFilling:
    return ZeroFilling(metric=estimate(zeros, is_share=is_share), gain=difference(figures, zeros, is_share=is_share))


def _notes(judge: Judge) -> dict[str, str]:
    kinds = {judge.is_share(judge.metric), judge.is_share("agreement")}
    words = [text for is_share, text in ((True, SHARES), (False, MEANS)) if is_share in kinds]
    return {
        "agreement": NOTES["agreement"],
        "intervals": f"of 95 %: {'; '.join(words)}; rows count as drawn one by one",
        "metric": NOTES[judge.metric],
        "zero_filling": _ZERO_FILLING,
    }
