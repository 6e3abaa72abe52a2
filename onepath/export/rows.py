"""Held-out rows as the serving side sees them: decoded by the same processors, in every presence pattern."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onepath.contract.drawn_rows import drawn_like
from onepath.contract.errors import PayloadError, RecipeError
from onepath.contract.manifest import ModalityEntry
from onepath.contract.presence import FAILED, PRESENT, pattern_name, patterns
from onepath.contract.tensors import state_name
from onepath.export.proofs import Arrays, Batch
from onepath.export.trained import Row
from onepath.modalities import decode_rows, processor_from_entry


@dataclass(frozen=True)
class RowSource:
    """Rows to prove a bundle on.

    Attributes:
        modalities: the bundle's modalities.
        assets: folder with a folder of files per modality.
        rows: encoded rows with every modality present.
    """

    modalities: Sequence[ModalityEntry]
    assets: Path
    rows: Sequence[Row]

    @property
    def patterns(self) -> list[tuple[str, ...]]:
        """The presence patterns that the model accepts: those that hold every required modality."""
        required = {entry.name for entry in self.modalities if entry.absent == "required"}
        return [pattern for pattern in patterns(self.names) if required <= set(pattern)]

    @property
    def names(self) -> list[str]:
        """The names of the modalities."""
        return [entry.name for entry in self.modalities]

    def decoded(self, title: str, rows: Sequence[Row]) -> Batch:
        """Return rows, from which modalities may be missing, as a batch."""
        values: dict[str, NDArray[np.generic]] = {}
        states: dict[str, NDArray[np.generic]] = {}
        for entry in self.modalities:
            decoded = decode_rows(
                processor_from_entry(entry, self.assets / entry.name),
                [row.get(entry.name, b"") for row in rows],
                absent=entry.absent,
                on_bad_payload=entry.on_bad_payload,
            )
            values[entry.name], states[entry.name] = decoded.values, decoded.states.reshape(-1, 1)
        return Batch(title, values, states)

    def pattern_rows(self, pattern: Sequence[str], count: int, *, start: int = 0) -> list[Row]:
        """Return `count` held-out rows, from `start` on and round again, with only a pattern's modalities."""
        chosen = [self.rows[(start + index) % len(self.rows)] for index in range(count)]
        return [{name: row[name] for name in pattern} for row in chosen]

    def mixed(self, size: int) -> Batch:
        """Return `size` held-out rows whose patterns differ from row to row, one of them empty where it may be."""
        empty = [()] if not any(entry.absent == "required" for entry in self.modalities) else []
        cycle = [*self.patterns, *empty]
        rows = [self.pattern_rows(cycle[i % len(cycle)], 1, start=i)[0] for i in range(size)]
        return self.decoded(f"{size} held-out rows of mixed patterns", rows)

    def each_pattern(self, size: int) -> list[Batch]:
        """Return a batch of `size` held-out rows for each pattern."""
        return [
            self.decoded(f"{size} held-out rows with {pattern_name(pattern)}", self.pattern_rows(pattern, size))
            for pattern in self.patterns
        ]

    def random(self, size: int, seed: int) -> Batch:
        """Return `size` rows of random values, in the range that held-out rows span, with every modality present."""
        drawn, values = drawn_like(self._sample, size, seed)
        return replace(_all_present(f"{size} random rows, seed {seed}", values), drawn=drawn)

    def degenerate(self, size: int) -> list[Batch]:
        """Return batches of `size` rows that no training data have: extreme values, and odd mixes of what is there."""
        return [*self.extreme_values(size), *self.odd_states(size)]

    def extreme_values(self, size: int) -> list[Batch]:
        """Return rows of zeros, of each value's held-out minimum and maximum, and of one number in all places.

        Every modality is present. Each number is one that held-out rows have, but for zero.
        """
        made = {"zeros": _zeros, "minima": _minima, "maxima": _maxima, "constants": _constants}
        return [
            _all_present(
                f"{size} rows of {title} of the held-out rows" if title != "zeros" else f"{size} rows of zeros",
                {name: make(array, size) for name, array in self._sample.items()},
            )
            for title, make in made.items()
        ]

    def odd_states(self, size: int) -> list[Batch]:
        """Return rows that are all the same, all without anything, all failed, and one of them among empty ones.

        Where a modality is required, a row without anything is a failed one.
        """
        whole = self.pattern_rows(self.names, 1)[0]
        middle = size // 2
        return [
            self.decoded(f"{size} times the same held-out row", [whole] * size),
            self.decoded(f"{size} rows with nothing", [{}] * size),
            self.decoded(f"one held-out row among {size - 1} with nothing", _only(middle, whole, size)),
            self._failed(size),
        ]

    def without_rows(self) -> Batch:
        """Return a batch of no rows at all."""
        values = {name: array[:0] for name, array in self._sample.items()}
        return _all_present("no rows", values)

    def _failed(self, size: int) -> Batch:
        """Return held-out rows that failed: in the first every modality, in the others one each."""
        rows = self.decoded(f"{size} failed rows", self.pattern_rows(self.names, size))
        states = {name: state.copy() for name, state in rows.states.items()}
        for column, state in enumerate(states.values()):
            state[0] = FAILED
            state[1 + column :: len(states)] = FAILED
        return Batch(rows.title, rows.values, states)

    @cached_property
    def _sample(self) -> dict[str, NDArray[np.generic]]:
        """The values of some held-out rows, as the processors make them."""
        return dict(self.decoded("", [dict(row) for row in self.rows[:64]]).values)


def check_rows(source: RowSource, origin: str) -> None:
    """Check that every held-out row has every modality, and that the processors can use it.

    Proofs on rows that do not decode would compare zeros with zeros.

    Raises:
        RecipeError: there are no rows, or some lack a modality or hold a payload that cannot be used; naming the first
            of each modality.
    """
    if not source.rows:
        raise RecipeError(origin, [("rows", "the training code returned no held-out rows to prove the bundles on")])
    problems = []
    for entry in source.modalities:
        lacking = [index for index, row in enumerate(source.rows) if not row.get(entry.name)]
        if lacking:
            problems.append((f"rows.{lacking[0]}.{entry.name}", f"is missing, as in {len(lacking)} rows"))
            continue
        processor = processor_from_entry(entry, source.assets / entry.name)
        for index, row in enumerate(source.rows):
            try:
                processor.decode(row[entry.name])
            except PayloadError as error:
                problems.append((f"rows.{index}.{entry.name}", f"cannot be used: {error}"))
                break
    if problems:
        raise RecipeError(origin, problems)


def feeds_from_batch(batch: Batch) -> dict[str, NDArray[np.generic]]:
    """Return what a graph is fed: the values and states by input name."""
    return dict(batch.values) | {state_name(name): states for name, states in batch.states.items()}


def _all_present(title: str, values: Arrays) -> Batch:
    rows = len(next(iter(values.values())))
    return Batch(title, values, {name: np.full((rows, 1), PRESENT, np.uint8) for name in values})


def _only(index: int, row: Row, size: int) -> list[Row]:
    return [row if each == index else {} for each in range(size)]


def _zeros(array: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    return np.zeros((size, *array.shape[1:]), array.dtype)


def _minima(array: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    return _repeated(array.min(axis=0), size)


def _maxima(array: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    return _repeated(array.max(axis=0), size)


def _constants(array: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    """Return rows of one number each: those that lie evenly between the smallest and the largest of some rows."""
    numbers = np.quantile(array.astype(np.float64), np.linspace(0, 1, size + 2)[1:-1], method="nearest")
    column = numbers.astype(array.dtype).reshape(size, *[1] * (array.ndim - 1))
    return _repeated_to(column, (size, *array.shape[1:]))


def _repeated(row: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    return _repeated_to(row, (size, *row.shape))


def _repeated_to(array: NDArray[np.generic], shape: tuple[int, ...]) -> NDArray[np.generic]:
    return np.broadcast_to(array, shape).copy()
