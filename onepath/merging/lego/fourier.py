"""Discrete Fourier transforms of fixed length as real matrix products, which every exporter and engine can run."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Spectrum(NamedTuple):
    """A complex tensor as a pair of real ones, both of one shape, rows first."""

    real: Tensor
    imag: Tensor


def fourier(values: Tensor) -> Spectrum:
    """Return the forward transform along axis 1, not normalised.

    Args:
        values: real `(rows, length, width)`.
    """
    cosine, sine = _tables_like(values, values.shape[1])
    return Spectrum(along_rows(cosine, values), -along_rows(sine, values))


def inverse_fourier(spectrum: Spectrum) -> Tensor:
    """Return the real part of the inverse transform along axis 1, `(rows, length, width)`.

    The imaginary part is zero whenever the spectrum is that of a real tensor, as it always is here.
    """
    length = spectrum.real.shape[1]
    cosine, sine = _tables_like(spectrum.real, length)
    return (along_rows(cosine, spectrum.real) - along_rows(sine, spectrum.imag)) / length


def over_features(values: Spectrum, *, inverse: bool = False) -> Spectrum:
    """Return the complex transform along the last axis, forward and not normalised, or its inverse."""
    length = values.real.shape[-1]
    cosine, sine = _tables_like(values.real, length)
    turn, factor = (sine, 1 / length) if inverse else (-sine, 1.0)
    real = values.real @ cosine - values.imag @ turn
    imag = values.real @ turn + values.imag @ cosine
    return Spectrum(real * factor, imag * factor)


def real_fourier(values: Tensor, dim: int = 1) -> Tensor:
    """Return the real part of the forward transform; the values themselves where the length is 1.

    Args:
        values: real `(…, length, width)`.
        dim: 1 transforms the length, 2 the width.
    """
    length = values.shape[dim - 3]
    if length == 1:
        return values
    cosine = _tables_like(values, length)[0]
    return along_rows(cosine, values) if dim == 1 else values @ cosine


def along_rows(matrix: Tensor, values: Tensor) -> Tensor:
    """Return `matrix @ values` for each batch entry, `(…, outputs, width)`.

    Args:
        matrix: `(outputs, length)`.
        values: `(…, length, width)`, any number of rows.
    """
    *rows, length, width = values.shape
    # ONNX Runtime refuses a batched product of 0 rows with a matrix on the left: the batch is folded into one matrix.
    columns = values.transpose(-2, -1).reshape(math.prod(rows) * width, length)
    return (columns @ matrix.T).reshape(*rows, width, matrix.shape[0]).transpose(-2, -1)


def averaged(values: Tensor, shares: Tensor) -> Tensor:
    """Return the weighted mean over axis 1, `(rows, width)`, of `(rows, length, width)`.

    Args:
        values: any number of rows.
        shares: `(length,)`, adding up to 1.
    """
    return (values * shares.unsqueeze(1)).sum(1)


def half_length(length: int) -> int:
    """Return how many rows of a real tensor's spectrum are distinct: the others are their mirror images.

    >>> half_length(6), half_length(5)
    (4, 3)
    """
    return length // 2 + 1


def row_counts(length: int) -> NDArray[np.float64]:
    """Return how many of the `length` rows each distinct row stands for.

    >>> row_counts(6).tolist(), row_counts(5).tolist()
    ([1.0, 2.0, 2.0, 1.0], [1.0, 2.0, 2.0])
    """
    counts = np.full(half_length(length), 2.0)
    counts[0] = 1.0
    if length % 2 == 0:
        counts[-1] = 1.0
    return counts


@lru_cache(maxsize=64)
def fourier_tables(length: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return cos and sin of `2π k t / length`, each float64 `(length, length)`, exact where they are zero."""
    turns = np.outer(np.arange(length), np.arange(length)) % length
    angles = 2 * np.pi * turns / length
    cosine, sine = np.cos(angles), np.sin(angles)
    half_turn = (2 * turns) % length == 0
    sine[half_turn] = 0.0
    cosine[((4 * turns) % length == 0) & ~half_turn] = 0.0
    cosine.setflags(write=False)
    sine.setflags(write=False)
    return cosine, sine


def _tables_like(values: Tensor, length: int) -> tuple[Tensor, Tensor]:
    # Made anew in the values' precision: a buffer that went through float32 would spoil a proof in float64.
    cosine, sine = fourier_tables(length)
    return (
        torch.tensor(cosine, dtype=values.dtype, device=values.device),
        torch.tensor(sine, dtype=values.dtype, device=values.device),
    )
