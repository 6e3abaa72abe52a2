"""What proofs compared on other rows than the golden probes, made small enough to be kept in the bundle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from onepath.contract.comparisons import (
    MOST_STORED_BYTES,
    ComparedBatch,
    Comparison,
    Comparisons,
    StoredArray,
    packed,
)
from onepath.contract.dtypes import DType
from onepath.contract.proofs import Step
from onepath.export.proofs import Arrays, Batch, Seen

_Key = tuple[str, tuple[int, ...], bytes]  # an array's type, shape and bytes


def stored_comparisons(
    probes: Batch, steps: Iterable[tuple[Step, Sequence[Seen]]], *, last: Step, most_bytes: int = MOST_STORED_BYTES
) -> Comparisons:
    """Return what proof steps compared, in their order, as far as it takes no more than some bytes.

    Args:
        probes: the golden probes, whose rows need not be stored.
        steps: each step with what it compared; inputs of weights alone are none.
        last: the step whose graph is in the bundle, so that what it answers need not be stored.
        most_bytes: what arrays and rows may take, compressed.
    """
    store = _Store(probes, most_bytes)
    for step, seen in steps:
        for each in seen:
            store.add(step, each, with_found=step != last)
    return store.comparisons()


@dataclass
class _Store:
    """Arrays and rows, each kept once, and what refers to them."""

    probes: Batch
    most_bytes: int
    arrays: dict[_Key, tuple[int, StoredArray]] = field(default_factory=dict)
    rows: dict[str, dict[bytes, tuple[int, bytes]]] = field(default_factory=dict)
    batches: list[ComparedBatch] = field(default_factory=list)
    compared: list[Comparison] = field(default_factory=list)
    size: int = 0

    def __post_init__(self) -> None:
        for name, array in self.probes.values.items():
            known = self.rows.setdefault(name, {})
            for number, row in enumerate(array):
                known.setdefault(row.tobytes(), (number, b""))

    def add(self, step: Step, seen: Seen, *, with_found: bool) -> None:
        """Keep a comparison, unless there is no room for it."""
        outputs = [seen.expected, *([seen.found] if with_found else [])]
        arrays = self._new_arrays(outputs)
        room = self.most_bytes - self.size - sum(len(each.data) for _, each in arrays.values())
        rows = self._new_rows(seen.batch, room)
        if room < 0 or rows is None:
            return
        self.size = self.most_bytes - room
        self.size += sum(len(data) for known in rows.values() for _, data in known.values())
        self.arrays |= arrays
        for name, known in rows.items():
            self.rows[name] |= known
        numbers = [self._numbers(output) for output in outputs]
        self.compared.append(
            Comparison(
                step=step,
                inputs=seen.batch.title,
                batch=self._batch(seen.batch),
                expected=numbers[0],
                found=numbers[1] if with_found else None,
            )
        )

    def comparisons(self) -> Comparisons:
        """Return everything that was kept."""
        return Comparisons(
            values={name: tuple(data for _, data in known.values() if data) for name, known in self.rows.items()},
            arrays=tuple(array for _, array in self.arrays.values()),
            batches=tuple(self.batches),
            compared=tuple(self.compared),
        )

    def _new_arrays(self, outputs: Sequence[Arrays]) -> dict[_Key, tuple[int, StoredArray]]:
        new: dict[_Key, tuple[int, StoredArray]] = {}
        for array in (array for output in outputs for array in output.values()):
            key = _key(array)
            if key not in self.arrays and key not in new:
                stored = StoredArray(dtype=cast(DType, array.dtype.name), shape=array.shape, data=packed(array))
                new[key] = (len(self.arrays) + len(new), stored)
        return new

    def _new_rows(self, batch: Batch, room: int) -> dict[str, dict[bytes, tuple[int, bytes]]] | None:
        """Return the rows of a batch that are not known yet, or None where they do not fit into some bytes."""
        new: dict[str, dict[bytes, tuple[int, bytes]]] = {}
        for name, array in batch.values.items() if batch.drawn is None else ():
            known, found = self.rows[name], new.setdefault(name, {})
            stored = sum(bool(data) for _, data in known.values())
            for row in array:
                if row.tobytes() in known or row.tobytes() in found:
                    continue
                data = packed(row)
                found[row.tobytes()] = (self.probes.rows + stored + len(found), data)
                room -= len(data)
                if room < 0:
                    return None
        return new

    def _numbers(self, output: Arrays) -> dict[str, int]:
        return {name: self.arrays[_key(array)][0] for name, array in output.items()}

    def _batch(self, batch: Batch) -> int:
        """Return the number of a batch, which comparisons of the same inputs share."""
        rows = {name: self._places(name, array) for name, array in batch.values.items()} if not batch.drawn else {}
        states = {name: tuple(map(int, array.ravel())) for name, array in batch.states.items()}
        entry = ComparedBatch(states=states, rows=rows, drawn=batch.drawn)
        if entry not in self.batches:
            self.batches.append(entry)
        return self.batches.index(entry)

    def _places(self, name: str, array: NDArray[np.generic]) -> tuple[int, ...]:
        known: Mapping[bytes, tuple[int, bytes]] = self.rows[name]
        return tuple(known[row.tobytes()][0] for row in array)


def _key(array: NDArray[np.generic]) -> _Key:
    return array.dtype.name, array.shape, array.tobytes()
