"""The merge methods: sum, mean, product and harmonic mean of any number of spectra, any of which may be absent.

A merge method is a function of the spectra `(rows, blocks, …)`, the presence `(rows, blocks)` and one weight a block.
It works element by element, gives the conjugate for conjugate inputs, and gives a block's spectrum back unchanged where
that block is the only one present. Plug-ins of the group `onepath.merge_methods` are such functions. Only the ratios
of the weights count; those of present blocks are scaled anew in each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Protocol

import torch
from torch import Tensor

from onepath.merging.lego.fourier import Spectrum
from onepath.merging.lego.rowwise import wide

CANCELLED = 1e-6
"""A mean direction shorter than this is no direction."""


class MergeMethod(Protocol):
    """A function that merges spectra."""

    def __call__(self, spectra: Spectrum, present: Tensor, weights: Sequence[float]) -> Spectrum:
        """Return the merged spectrum, both parts `(rows, …)`.

        Args:
            spectra: both parts `(rows, blocks, …)`; anything where a block is absent.
            present: bool `(rows, blocks)`.
            weights: one positive number a block.
        """


def _half_in_single(method: MergeMethod) -> MergeMethod:
    """Return a method that computes in float32 where it is given float16, whose squares of small numbers are zeros."""

    @wraps(method)
    def merged(spectra: Spectrum, present: Tensor, weights: Sequence[float]) -> Spectrum:
        if spectra.real.dtype != torch.float16:
            return method(spectra, present, weights)
        return Spectrum(*(part.half() for part in method(Spectrum(*(p.float() for p in spectra)), present, weights)))

    return merged


def sum_(spectra: Spectrum, present: Tensor, weights: Sequence[float]) -> Spectrum:
    """Return the weighted sum; with equal weights the plain sum of the present blocks."""
    share = _share(spectra, present, weights) * _like(present, spectra).sum(1, keepdim=True)
    return _weighted_sum(_masked(spectra, present), wide(share, spectra.real))


def mean(spectra: Spectrum, present: Tensor, weights: Sequence[float]) -> Spectrum:
    """Return the weighted mean of the present blocks."""
    return _weighted_sum(_masked(spectra, present), wide(_share(spectra, present, weights), spectra.real))


@_half_in_single
def product(spectra: Spectrum, present: Tensor, weights: Sequence[float]) -> Spectrum:
    """Return the complex product of the present blocks; a weight is the exponent of its block's magnitude."""
    count = _like(present, spectra).sum(1, keepdim=True)
    excess = wide(_share(spectra, present, weights) * count - 1, spectra.real)
    growth = torch.exp(excess * torch.log(_magnitude(spectra)))
    here = wide(present, spectra.real)
    real = torch.where(here, spectra.real * growth, torch.ones_like(spectra.real))
    imag = torch.where(here, spectra.imag * growth, torch.zeros_like(spectra.imag))
    merged = Spectrum(real[:, 0], imag[:, 0])
    for block in range(1, real.shape[1]):
        merged = _times(merged, Spectrum(real[:, block], imag[:, block]))
    return _zero_where_empty(merged, present)


@_half_in_single
def harmonic(spectra: Spectrum, present: Tensor, weights: Sequence[float]) -> Spectrum:
    """Return the weighted harmonic mean of the magnitudes, in the direction of the weighted circular mean.

    The magnitude is 0 where that of any present block is; where the directions cancel, that of the first present block
    is taken.
    """
    masked = _masked(spectra, present)
    share = wide(_share(spectra, present, weights), masked.real)
    magnitude = _magnitude(masked)
    unit = Spectrum(masked.real / magnitude, masked.imag / magnitude)
    radius = 1 / (share / magnitude).sum(1).clamp(min=_tiny(magnitude))
    vanished = (wide(present, masked.real) & (masked.real == 0) & (masked.imag == 0)).any(1)
    radius = torch.where(vanished, torch.zeros_like(radius), radius)
    direction = _direction(unit, share, present)
    merged = Spectrum(radius * direction.real, radius * direction.imag)
    return _unchanged_where_alone(merged, masked, present)


LINEAR = frozenset({sum_, mean})
"""The methods that commute with averaging over rows, so that one pooled vector a block is enough."""


def _direction(unit: Spectrum, share: Tensor, present: Tensor) -> Spectrum:
    sums = _weighted_sum(unit, share)
    length = _magnitude(sums)
    lead = present & (torch.cumsum(present.to(torch.int64), dim=1) == 1)
    first = _weighted_sum(unit, wide(_like(lead, unit), unit.real))
    cancelled = length < CANCELLED
    return Spectrum(
        torch.where(cancelled, first.real, sums.real / length),
        torch.where(cancelled, first.imag, sums.imag / length),
    )


def _unchanged_where_alone(merged: Spectrum, masked: Spectrum, present: Tensor) -> Spectrum:
    alone = wide(present.sum(1) <= 1, merged.real)
    return Spectrum(
        torch.where(alone, masked.real.sum(1), merged.real), torch.where(alone, masked.imag.sum(1), merged.imag)
    )


def _zero_where_empty(merged: Spectrum, present: Tensor) -> Spectrum:
    any_present = wide(present.any(1), merged.real)
    return Spectrum(*(torch.where(any_present, part, torch.zeros_like(part)) for part in merged))


def _times(left: Spectrum, right: Spectrum) -> Spectrum:
    return Spectrum(left.real * right.real - left.imag * right.imag, left.real * right.imag + left.imag * right.real)


def _weighted_sum(spectra: Spectrum, share: Tensor) -> Spectrum:
    return Spectrum((spectra.real * share).sum(1), (spectra.imag * share).sum(1))


def _masked(spectra: Spectrum, present: Tensor) -> Spectrum:
    here = wide(present, spectra.real)
    return Spectrum(*(torch.where(here, part, torch.zeros_like(part)) for part in spectra))


def _magnitude(spectra: Spectrum) -> Tensor:
    """Return the magnitude, never below the smallest number whose square is still a normal one."""
    square = spectra.real.square() + spectra.imag.square()
    return square.clamp(min=_tiny(square)).sqrt()


def _share(spectra: Spectrum, present: Tensor, weights: Sequence[float]) -> Tensor:
    """Return each present block's part of the whole, `(rows, blocks)`, 0 where absent."""
    given = spectra.real.new_tensor(list(weights)) * _like(present, spectra)
    return given / given.sum(1, keepdim=True).clamp(min=_tiny(given))


def _like(mask: Tensor, spectra: Spectrum) -> Tensor:
    return mask.to(spectra.real.dtype)


def _tiny(values: Tensor) -> float:
    return float(torch.finfo(values.dtype).tiny)
