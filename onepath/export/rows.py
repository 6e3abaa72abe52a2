"""Held-out rows as the serving side sees them: decoded by the same processors, in every presence pattern."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onepath.contract.errors import PayloadError, RecipeError
from onepath.contract.manifest import ModalityEntry
from onepath.contract.presence import PRESENT, pattern_name, patterns
from onepath.contract.tensors import state_name
from onepath.export.proofs import Batch
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
        generator = np.random.default_rng(seed)
        real = self.decoded("", [dict(row) for row in self.rows[:64]])
        values = {name: _random_like(array, size, generator) for name, array in real.values.items()}
        states = {name: np.full((size, 1), PRESENT, np.uint8) for name in values}
        return Batch(f"{size} random rows, seed {seed}", values, states)


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


def _random_like(array: NDArray[np.generic], size: int, generator: np.random.Generator) -> NDArray[np.generic]:
    shape = (size, *array.shape[1:])
    if np.issubdtype(array.dtype, np.integer):
        low, high = int(array.min()), int(array.max())
        return generator.integers(low, high, shape, endpoint=True).astype(array.dtype)
    wide = array.astype(np.float64)
    return generator.normal(wide.mean(), wide.std() + 1e-3, shape).astype(array.dtype)
