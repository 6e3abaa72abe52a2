"""What a model does first with what its processor gives: pixels to normalised values, with no weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.presets.constants import Normalisation


class PixelNormalisation(nn.Module):
    """Pixels, 0 to 255, of images or clips to their centre, less the mean and over the deviation of each channel.

    The constants are made in the values' precision at each call: a buffer that went through float32 would spoil a
    proof in float64.

    Args:
        normalisation: of levels between 0 and 1; one channel gets the means of the three.
        channels: 1 or 3.
        crop: sides of the centre that is kept, rows and columns; all of it without.
    """

    def __init__(self, normalisation: Normalisation, channels: int, crop: Sequence[int] | None = None) -> None:
        super().__init__()
        if channels not in (1, len(normalisation.mean)):
            raise UnsupportedModuleError(
                "a pixel normalisation", f"there are {channels} channels", f"choose 1 or {len(normalisation.mean)}"
            )
        one = channels == 1
        self.mean = (sum(normalisation.mean) / len(normalisation.mean),) if one else normalisation.mean
        self.deviation = (
            (sum(normalisation.deviation) / len(normalisation.deviation),) if one else normalisation.deviation
        )
        self.crop = tuple(crop) if crop is not None else None

    def forward(self, pixels: Tensor) -> Tensor:
        """Return `(rows, channels, …, height, width)` of floating-point pixels of the same axes, 0 to 255."""
        ones = (1,) * (pixels.ndim - 2)
        mean, deviation = (
            torch.tensor(levels, dtype=pixels.dtype, device=pixels.device).reshape(-1, *ones)
            for levels in (self.mean, self.deviation)
        )
        return (self._centre(pixels) / 255 - mean) / deviation

    def extra_repr(self) -> str:
        """Return the constants."""
        return f"mean={self.mean}, deviation={self.deviation}, crop={self.crop}"

    def _centre(self, pixels: Tensor) -> Tensor:
        if self.crop is None:
            return pixels
        top, left = ((have - want) // 2 for have, want in zip(pixels.shape[-2:], self.crop, strict=True))
        return pixels[..., top : top + self.crop[0], left : left + self.crop[1]]
