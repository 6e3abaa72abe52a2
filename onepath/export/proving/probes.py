"""Golden probes while a bundle is built: which rows they are, and what each stage of the proof chain answers to them.

The answers go into the bundle, so that each of these measurements can be made again without the models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from onepath.contract.answers import Answers
from onepath.contract.distances import WORST_CASE, distance
from onepath.contract.errors import ParityError
from onepath.contract.proofs import ComputedIn, Measurement, Metric, ProofStep, probes_title
from onepath.export.proofs import Arrays, Batch
from onepath.export.rows import RowSource
from onepath.export.trained import Row

Tolerances = Mapping[Metric, float]
"""Metric to what it may be, chosen before measuring."""


def probe_rows(source: RowSource, per_pattern: int) -> list[Row]:
    """Return the rows of the golden probes: held-out ones for each presence pattern."""
    return [row for pattern in source.patterns for row in source.pattern_rows(pattern, per_pattern)]


def probe_batch(source: RowSource, per_pattern: int) -> Batch:
    """Return the golden probes as one batch."""
    return source.decoded("golden probes", probe_rows(source, per_pattern))


def first_output(answers: Arrays) -> NDArray[np.float64]:
    """Return the first of some outputs, as stages are kept: float64 `(rows, width)`."""
    first = next(iter(answers.values()))
    return first.reshape(len(first), -1).astype(np.float64)


def answers_in_runs(run: Callable[[Batch], Arrays], batch: Batch, *, rows: int) -> NDArray[np.float64]:
    """Return the first output for a batch of any size, from runs of at most some rows.

    Args:
        run: gives the outputs of a batch, such as a graph in ONNX Runtime.
        batch: the golden probes.
        rows: the most rows of one run.
    """
    starts = range(0, batch.rows, rows)
    return np.concatenate([first_output(run(part_of(batch, slice(start, start + rows)))) for start in starts])


def part_of(batch: Batch, rows: slice, modalities: Sequence[str] | None = None) -> Batch:
    """Return some rows of a batch, of all or of some modalities."""
    names = list(batch.values) if modalities is None else modalities
    values = {name: batch.values[name][rows] for name in names}
    return Batch(batch.title, values, {name: batch.states[name][rows] for name in names})


def measured_on_probes(
    step: str,
    answers: Answers,
    before: str,
    after: str,
    *,
    tolerances: Tolerances,
    computed_in: ComputedIn = "float32",
) -> tuple[Measurement, ...]:
    """Return how far two stages are apart on the golden probes, by each metric.

    Args:
        step: the step's name, for the error.
        answers: has both stages.
        before: the stage that the step started from.
        after: its result.
        tolerances: metric to what it may be.
        computed_in: what both answer in, or the less precise of the two.

    Raises:
        ParityError: they are too far apart.
    """
    title, found = probes_title(before, after), []
    for metric, tolerance in tolerances.items():
        error = distance(answers[before], answers[after], metric)
        if not error <= tolerance:
            raise ParityError(step, error=error, tolerance=tolerance, where=title)
        found.append(
            Measurement(inputs=title, error=error, tolerance=tolerance, metric=metric, computed_in=computed_in)
        )
    return tuple(found)


def proved_on_probes(proof: ProofStep, answers: Answers, before: str, after: str) -> ProofStep:
    """Return a proof that was measured on the golden probes too, by its own metrics at their tightest tolerances.

    Only metrics of which the worst row decides are taken: a mean or a share of so few rows says little.

    Args:
        proof: a step that was measured on other rows.
        answers: of its two stages, among others.
        before: the stage that it started from.
        after: its result.

    Raises:
        ParityError: they are too far apart.
    """
    tolerances: dict[Metric, float] = {}
    for measured in proof.measurements:
        if measured.metric in WORST_CASE:
            tolerances[measured.metric] = min(measured.tolerance, tolerances.get(measured.metric, measured.tolerance))
    computed_in: ComputedIn = "float64" if proof.step == "merge" else "float32"
    more = measured_on_probes(proof.step, answers, before, after, tolerances=tolerances, computed_in=computed_in)
    return proof.model_copy(update={"measurements": proof.measurements + more})
