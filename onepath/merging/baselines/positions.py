"""Fourier features: positions as sines and cosines of several frequencies."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def fourier_features(positions: Tensor, *, bands: int, max_frequency: float) -> Tensor:
    """Return sines, then cosines, then the positions themselves, `(…, 2 * bands + 1)`.

    The frequencies lie evenly between half a cycle a unit and `max_frequency / 4` cycles (after arXiv 2103.03206).

    Args:
        positions: any shape, usually from -1 to 1.
        bands: number of frequencies.
        max_frequency: twice the highest number of half cycles a unit.
    """
    factors = torch.linspace(1.0, max_frequency / 2, bands, dtype=positions.dtype, device=positions.device)
    angles = positions.unsqueeze(-1) * factors * math.pi
    return torch.cat([angles.sin(), angles.cos(), positions.unsqueeze(-1)], dim=-1)


def with_positions(tokens: Tensor, *, bands: int, max_frequency: float) -> Tensor:
    """Return tokens with the features of their places, from -1 to 1, `(rows, tokens, width + position_width(bands))`.

    Args:
        tokens: `(rows, tokens, width)`.
        bands: number of frequencies; 0 to leave the tokens as they are.
        max_frequency: see `fourier_features`.
    """
    if bands == 0:
        return tokens
    places = torch.linspace(-1.0, 1.0, tokens.shape[1], dtype=tokens.dtype, device=tokens.device)
    features = fourier_features(places, bands=bands, max_frequency=max_frequency)
    return torch.cat([tokens, features.expand(tokens.shape[0], *features.shape)], dim=-1)


def position_width(bands: int) -> int:
    """Return the width that `with_positions` adds."""
    return 2 * bands + 1 if bands else 0
