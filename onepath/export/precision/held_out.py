"""Held-out rows for precisions, some to calibrate on and others to measure, and what a graph answers to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onepath.contract.presence import ABSENT, sampled_patterns
from onepath.contract.tensors import PRESENCE, ROW_STATUS
from onepath.export.precision.sessions import Run
from onepath.export.proofs import Arrays, Batch
from onepath.export.proving.running import row_by_row
from onepath.export.robustness.answers import Pattern, batches_of_rows, only
from onepath.export.robustness.report import chosen_rows
from onepath.export.rows import RowSource

Rows = NDArray[np.generic]
_TOGETHER = 9  # rows of mixed patterns that are run together and one by one


@dataclass(frozen=True)
class HeldOut:
    """The held-out rows of a bundle, and what they are for.

    Attributes:
        source: rows with every modality, and the bundle's modalities.
        targets: the class index of each row, or none.
        task: `classification` or `embedding`.
    """

    source: RowSource
    targets: Sequence[int]
    task: str


@dataclass(frozen=True)
class Split:
    """Which of the held-out rows are for what.

    Attributes:
        gate: indices of those that the gate is measured on.
        calibration: indices of those that ranges are taken from.
    """

    gate: Sequence[int]
    calibration: Sequence[int]

    @property
    def is_disjoint(self) -> bool:
        """Whether no row serves both."""
        return not {*self.gate} & {*self.calibration}

    @property
    def note(self) -> str:
        """What a person should know of the calibration rows."""
        apart = "none of them measured" if self.is_disjoint else "which are measured too, for want of others"
        return f"{len(self.calibration)} held-out rows, {apart}"


def split_rows(available: int, *, calibration: int, gate: int, seed: int) -> Split:
    """Return which rows to calibrate on, drawn by the seed, and which to measure.

    They are kept apart where there are at least four times as many as are wanted for calibration. Otherwise a quarter
    of eight rows or more is; fewer rows serve both.

    Args:
        available: how many rows there are.
        calibration: how many are wanted for it.
        gate: the most to measure.
        seed: decides which.
    """
    if available < 8:
        everything = range(available)
        return Split(chosen_rows(available, gate, seed), everything[:calibration])
    drawn = {*chosen_rows(available, min(calibration, available // 4), seed)}
    rest = [row for row in range(available) if row not in drawn]
    return Split([rest[place] for place in chosen_rows(len(rest), gate, seed)], sorted(drawn))


def calibration_batches(source: RowSource, rows: Sequence[int], size: int) -> Iterator[Batch]:
    """Yield batches in which every modality is present somewhere and every presence pattern turns up in time.

    Each row is there twice: with every modality, and with the next pattern. An encoder that got no row at all would
    have no range.

    Args:
        source: the rows.
        rows: indices of those to take.
        size: the most rows of a batch; two at least are in it.
    """
    cycle = source.patterns
    half = max(1, size // 2)
    for start in range(0, len(rows), half):
        here = list(enumerate(rows[start : start + half], start))
        whole = [source.rows[row] for _, row in here]
        parts = [{name: source.rows[row][name] for name in cycle[place % len(cycle)]} for place, row in here]
        yield source.decoded("rows to calibrate on", [*whole, *parts])


@dataclass(frozen=True)
class Answered:
    """What a graph answers to held-out rows.

    Attributes:
        first: presence pattern to the first output `(rows, width)`.
        marks: presence pattern to presence and row status `(rows, modalities + 1)`; `()` stands for rows that have
            nothing.
        empty: the first output for rows that have nothing.
        together: the first output for some rows of mixed patterns, run together.
        alone: that for the same rows, run one by one.
    """

    first: Mapping[Pattern, Rows]
    marks: Mapping[Pattern, Rows]
    empty: Rows
    together: Rows
    alone: Rows


def answers(run: Run, held_out: HeldOut, rows: Sequence[int], *, batch_size: int, seed: int) -> Answered:
    """Return what a graph answers, for every presence pattern that it accepts; above 64 of them, for a sample.

    Args:
        run: runs the graph.
        held_out: the rows.
        rows: indices of those to run.
        batch_size: rows of one run.
        seed: decides the sample.
    """
    source = held_out.source
    required = [entry.name for entry in source.modalities if entry.absent == "required"]
    patterns = sampled_patterns(source.names, required=required, seed=seed)
    first: dict[Pattern, list[Rows]] = {pattern: [] for pattern in patterns}
    marks: dict[Pattern, list[Rows]] = {pattern: [] for pattern in patterns}
    for batch in batches_of_rows(source, rows, batch_size):
        for pattern in patterns:
            found = run(only(batch, pattern, missing=ABSENT))
            first[pattern].append(_first(found))
            marks[pattern].append(_marks(found))
    nothing = run(only(next(batches_of_rows(source, rows[:2], 2)), (), missing=ABSENT))
    mixed = source.mixed(min(_TOGETHER, batch_size))
    return Answered(
        {pattern: np.concatenate(parts) for pattern, parts in first.items()},
        {pattern: np.concatenate(parts) for pattern, parts in marks.items()} | {(): _marks(nothing)},
        _first(nothing),
        _first(run(mixed)),
        _first(row_by_row(run, mixed)),
    )


def _first(found: Arrays) -> Rows:
    output = next(iter(found.values()))
    return output.reshape(len(output), -1)


def _marks(found: Arrays) -> Rows:
    return np.concatenate([found[PRESENCE], found[ROW_STATUS]], axis=1)


def whole_batch(source: RowSource, size: int) -> Batch:
    """Return held-out rows with every modality, round again where there are too few; for timing."""
    return source.decoded(f"{size} rows", source.pattern_rows(source.names, size))
