"""From a latent to the spectrum that a depth starts from, and from one depth to the next."""

from __future__ import annotations

import torch
from torch import Tensor

from onepath.merging.lego.fourier import Spectrum, fourier, inverse_fourier, over_features
from onepath.merging.lego.settings import LegoSettings

SMALLEST_NORM = 1e-12


def started(latent: Tensor, settings: LegoSettings) -> Spectrum:
    """Return the spectrum of a latent `(rows, latents, width)`, normalised before the transform if the settings say so.

    Out of the frequency domain it is the latent itself, with no imaginary part.
    """
    if not settings.frequency_domain:
        return Spectrum(latent, torch.zeros_like(latent))
    if settings.fourier_dim == 2:
        return _started_over_features(Spectrum(latent, torch.zeros_like(latent)), settings)
    return fourier(latent / _norm(latent.square(), dim=1) if settings.normalise else latent)


def restarted(state: Spectrum, settings: LegoSettings) -> Spectrum:
    """Return the spectrum that the next depth starts from: the state as a latent, normalised, transformed again.

    Args:
        state: what a depth returned, both parts `(rows, latents, width)`.
        settings: the block's.
    """
    kept = state if settings.track_imaginary else Spectrum(state.real, torch.zeros_like(state.imag))
    if not settings.frequency_domain:
        return kept
    if settings.fourier_dim == 2:
        return _started_over_features(over_features(kept, inverse=True), settings)
    return started(inverse_fourier(kept), settings)  # the latent is real: its spectrum's rows mirror each other


def root(square: Tensor) -> Tensor:
    """Return the square root of squared norms, never 0, so that a latent may be divided by it."""
    return square.clamp(min=max(SMALLEST_NORM**2, torch.finfo(square.dtype).tiny)).sqrt()


def _started_over_features(latent: Spectrum, settings: LegoSettings) -> Spectrum:
    if not settings.normalise:
        return over_features(latent)
    norm = _norm(latent.real.square() + latent.imag.square(), dim=2)
    return over_features(Spectrum(latent.real / norm, latent.imag / norm))


def _norm(squares: Tensor, dim: int) -> Tensor:
    return root(squares.sum(dim, keepdim=True))
