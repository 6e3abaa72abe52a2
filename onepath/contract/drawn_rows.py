"""Random rows that a proof was measured on, drawn again from their seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat

from onepath.contract.digests import sha256_from_bytes
from onepath.contract.tensors import Closed, TensorSpec

Arrays = Mapping[str, NDArray[np.generic]]
"""Modality to values `(rows, …)`."""

_LEAST_DEVIATION = 1e-3


class Span(Closed):
    """What random values of a modality are drawn from.

    Attributes:
        low: the smallest integer, or the mean of other numbers.
        high: the largest integer, or the standard deviation of other numbers.
    """

    low: int | FiniteFloat
    high: int | FiniteFloat


class DrawnRows(Closed):
    """Rows of random values, evenly distributed integers or normally distributed numbers, with every modality present.

    Attributes:
        rows: how many.
        seed: of numpy's default generator.
        spans: modality to what its values are drawn from; they are drawn in the order of the presence columns.
        sha256: of the values, since another numpy may draw others from the same seed.
    """

    rows: int = Field(ge=1)
    seed: int = Field(ge=0)
    spans: dict[str, Span]
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


def span_of_values(array: NDArray[np.generic]) -> Span:
    """Return the span of some rows' values.

    >>> span_of_values(np.array([3, 8, 5], np.uint8))
    Span(low=3, high=8)
    """
    if np.issubdtype(array.dtype, np.integer):
        return Span(low=int(array.min()), high=int(array.max()))
    wide = array.astype(np.float64)
    return Span(low=float(wide.mean()), high=float(wide.std()) + _LEAST_DEVIATION)


def drawn_like(sample: Arrays, rows: int, seed: int) -> tuple[DrawnRows, Arrays]:
    """Return random rows in the span of some others, and how they are drawn again.

    Args:
        sample: modality to values as its processor makes them.
        rows: how many to draw.
        seed: of the generator.
    """
    spans = {name: span_of_values(array) for name, array in sample.items()}
    rest = {name: (array.dtype, array.shape[1:]) for name, array in sample.items()}
    values = _drawn(spans, rest, rows, seed)
    return DrawnRows(rows=rows, seed=seed, spans=spans, sha256=_digest(values)), values


def drawn_again(drawn: DrawnRows, specs: Sequence[TensorSpec]) -> Arrays | None:
    """Return the values of random rows, or None where this numpy draws others from their seed.

    Args:
        drawn: what was drawn.
        specs: the tensors of one row, one for each modality, in the order of the presence columns.

    Raises:
        ValueError: the modalities are not those of the rows, or nothing can be drawn from a span.
    """
    rest = {spec.name: (np.dtype(spec.dtype), spec.shape) for spec in specs}
    if {*rest} != {*drawn.spans}:
        raise ValueError(f"its random rows are of {', '.join(drawn.spans)}")
    try:
        values = _drawn(drawn.spans, rest, drawn.rows, drawn.seed)
    except OverflowError as error:
        raise ValueError(f"its random rows cannot be drawn: {error}") from error
    return values if _digest(values) == drawn.sha256 else None


def _drawn(
    spans: Mapping[str, Span], rest: Mapping[str, tuple[np.dtype[np.generic], tuple[int, ...]]], rows: int, seed: int
) -> dict[str, NDArray[np.generic]]:
    generator = np.random.default_rng(seed)
    values: dict[str, NDArray[np.generic]] = {}
    for name, (dtype, shape) in rest.items():
        span = spans[name]
        if np.issubdtype(dtype, np.integer):
            drawn = generator.integers(int(span.low), int(span.high), (rows, *shape), endpoint=True)
            values[name] = drawn.astype(dtype)
        else:
            values[name] = generator.normal(span.low, span.high, (rows, *shape)).astype(dtype)
    return values


def _digest(values: Arrays) -> str:
    return sha256_from_bytes(b"".join(np.ascontiguousarray(array).tobytes() for array in values.values()))
