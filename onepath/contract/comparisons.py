"""What the proofs were measured on besides the golden probes, kept small, so that anyone can measure them again.

A batch's rows are those of golden probes, rows that are stored here, or random ones that are drawn again from a seed.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from onepath.contract.digests import canonical_json
from onepath.contract.drawn_rows import Arrays, DrawnRows, drawn_again
from onepath.contract.dtypes import DType
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.manifest import Manifest
from onepath.contract.presence import ABSENT, FAILED
from onepath.contract.probes import Payload
from onepath.contract.proofs import Step
from onepath.contract.strict_json import json_from_bytes
from onepath.contract.tensors import Closed, TensorSpec, state_name

COMPARISONS = "comparisons.json"
"""Where a bundle has them."""
MOST_STORED_BYTES = 200_000
"""What arrays and rows may take, compressed; comparisons that would take more are not kept."""

_Kind = TypeVar("_Kind")
_State = Annotated[int, Field(ge=ABSENT, le=FAILED)]
_MOST_FILE_BYTES = 4 << 20
_MOST_UNPACKED_BYTES = 256 << 20


class StoredArray(Closed):
    """An array, rows first: zlib's compression of its bytes, little-endian and in C's order."""

    dtype: DType
    shape: tuple[int, ...] = Field(min_length=1)
    data: Payload


class ComparedBatch(Closed):
    """The inputs of comparisons.

    Attributes:
        states: modality to the state of each row, see `onepath.contract.presence`.
        rows: modality to where each row's values are: the number of a golden probe, and from there on of `values`.
        drawn: how the values are drawn again, where they are random; there are no `rows` then.
    """

    states: dict[str, tuple[_State, ...]] = Field(min_length=1)
    rows: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    drawn: DrawnRows | None = None


class Comparison(Closed):
    """One comparison of a proof step.

    Attributes:
        step: the step.
        inputs: the words by which the proof knows it.
        batch: the number of its batch.
        expected: output to the number of the reference's array.
        found: the same of what was judged; None where that is what the float32 graph of the bundle answers.
    """

    step: Step
    inputs: str
    batch: int = Field(ge=0)
    expected: dict[str, int] = Field(min_length=1)
    found: dict[str, int] | None = None


class Comparisons(Closed):
    """The comparisons of a bundle.

    Attributes:
        values: modality to rows that no golden probe is, each zlib's compression of its bytes.
        arrays: answers.
        batches: inputs.
        compared: what was compared on them.
    """

    values: dict[str, tuple[Payload, ...]]
    arrays: tuple[StoredArray, ...]
    batches: tuple[ComparedBatch, ...]
    compared: tuple[Comparison, ...]

    @model_validator(mode="after")
    def _is_small(self) -> Comparisons:
        """Refuse more than a build keeps: what it unpacks to is bounded by it."""
        data = [*(each.data for each in self.arrays), *(row for rows in self.values.values() for row in rows)]
        if sum(map(len, data)) > MOST_STORED_BYTES:
            raise ValueError(f"it has more than {MOST_STORED_BYTES} bytes of arrays and rows")
        return self

    @model_validator(mode="after")
    def _each_is_compared_once(self) -> Comparisons:
        titles = [(each.step, each.inputs) for each in self.compared]
        if len({*titles}) != len(titles):
            raise ValueError("it has a comparison twice")
        return self

    def outputs(self, numbers: Mapping[str, int]) -> Arrays:
        """Return outputs by name.

        Raises:
            ValueError: there is no such array, or its bytes are not of its type and shape.
        """
        stored = {name: _at(self.arrays, number) for name, number in numbers.items()}
        return {name: _unpacked(each.data, each.dtype, each.shape) for name, each in stored.items()}

    def dtype(self, number: int) -> DType:
        """Return the type of an array.

        Raises:
            ValueError: there is no such array.
        """
        return _at(self.arrays, number).dtype

    def feeds(self, batch: int, specs: Sequence[TensorSpec], probes: Arrays, *, most_rows: int) -> Arrays | None:
        """Return what a graph is fed with a batch, or None where this numpy draws other random rows.

        Args:
            batch: the batch's number.
            specs: the tensors of one row, one for each modality.
            probes: modality to the golden probes' values.
            most_rows: of one batch.

        Raises:
            ValueError: there is no such batch or row, or it is not of these modalities.
        """
        found = _at(self.batches, batch)
        sizes = {len(states) for states in found.states.values()}
        if {*found.states} != {spec.name for spec in specs} or len(sizes) != 1 or not 1 <= max(sizes) <= most_rows:
            raise ValueError(f"its batch {batch} is not of the modalities, or not of 1 to {most_rows} rows")
        if found.drawn is not None and found.drawn.rows != max(sizes):
            raise ValueError(f"its batch {batch} has {max(sizes)} states and {found.drawn.rows} random rows")
        if {*found.rows} != ({*found.states} if found.drawn is None else set()):
            raise ValueError(f"its batch {batch} has rows of other modalities, or of random rows")
        values = drawn_again(found.drawn, specs) if found.drawn else self._gathered(found, specs, probes)
        if values is None:
            return None
        states = {state_name(name): np.array(states, np.uint8).reshape(-1, 1) for name, states in found.states.items()}
        return {**values, **states}

    def _gathered(self, batch: ComparedBatch, specs: Sequence[TensorSpec], probes: Arrays) -> Arrays:
        found = {}
        for spec in specs:
            numbers, known = batch.rows.get(spec.name, ()), probes[spec.name]
            if len(numbers) != len(batch.states[spec.name]):
                raise ValueError(f"a batch lacks rows of {spec.name}")
            others = self.values.get(spec.name, ())
            rows = [
                known[number]
                if 0 <= number < len(known)
                else _unpacked(_at(others, number - len(known)), spec.dtype, spec.shape)
                for number in numbers
            ]
            found[spec.name] = np.stack(rows)
        return found


def packed(array: NDArray[np.generic]) -> bytes:
    """Return an array's bytes, little-endian and in C's order, compressed by zlib."""
    return zlib.compress(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())


def comparisons_from_bundle(manifest: Manifest, root: Path) -> Comparisons | None:
    """Return the comparisons of a bundle; None where it keeps none.

    Args:
        manifest: the bundle's.
        root: its folder.

    Raises:
        BundleIntegrityError: the file is none of comparisons, or larger than one is, or has one of them twice.
    """
    if COMPARISONS not in manifest.files:
        return None
    try:
        if (root / COMPARISONS).stat().st_size > _MOST_FILE_BYTES:
            raise ValueError(f"it has more than {_MOST_FILE_BYTES} bytes")
        raw = json_from_bytes((root / COMPARISONS).read_bytes())
        found = Comparisons.model_validate_json(canonical_json(raw))
        strange = sorted({*found.values} - {*manifest.modality_names})
        if strange:
            raise ValueError(f"it has rows of {strange[0]!r}, which is no modality")
        return found
    except ValueError as error:
        problem = f"does not hold the comparisons of this bundle: {' '.join(str(error).split())[:200]}"
        raise BundleIntegrityError(COMPARISONS, problem, root=str(root)) from error


def _at(items: Sequence[_Kind], number: int) -> _Kind:
    if not 0 <= number < len(items):
        raise ValueError(f"it refers to number {number} of {len(items)}")
    return items[number]


def _unpacked(data: bytes, dtype: DType, shape: tuple[int, ...]) -> NDArray[np.generic]:
    kind = np.dtype(dtype).newbyteorder("<")
    size = math.prod(shape) * kind.itemsize
    if min(shape, default=1) < 1 or size > _MOST_UNPACKED_BYTES:
        raise ValueError(f"it has an array of shape {shape}")
    try:
        unpacker = zlib.decompressobj()
        plain = unpacker.decompress(data, size + 1)
    except zlib.error as error:
        raise ValueError(f"its data cannot be unpacked: {error}") from error
    if len(plain) != size or not unpacker.eof:
        raise ValueError(f"an array of shape {shape} has {len(plain)} bytes and not {size}")
    return np.frombuffer(plain, kind).reshape(shape)
