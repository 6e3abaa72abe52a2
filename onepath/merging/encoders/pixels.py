"""What an encoder of pixels does first: cast them to its precision, and normalise them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError


class CastInput(nn.Module):
    """Values of any dtype in the precision of the model that this is a part of: it follows `.double()` and `.half()`.

    Processors give the smallest dtype that holds the data, such as uint8 pixels, and weights are floating-point.

    Args:
        like: a tensor of the precision and on the device to start with; torch's default without it.
        stored: whether the state dict names it, by a tensor without numbers. It does where a normalisation was folded
            away, so that weights that take raw pixels are not loaded, strictly, into a model that normalises them.

    Attributes:
        precision: an empty tensor of the precision.
    """

    precision: Tensor

    def __init__(self, like: Tensor | None = None, *, stored: bool = False) -> None:
        super().__init__()
        precision = torch.empty(0) if like is None else torch.empty(0, dtype=like.dtype, device=like.device)
        self.register_buffer("precision", precision, persistent=stored)

    def forward(self, values: Tensor) -> Tensor:
        """Return the values, of the same shape."""
        return values.to(self.precision.dtype)


class PixelNormalization(nn.Module):
    """Pixels to (pixels · scale − mean) / std of each channel, in the precision of the model that this is a part of.

    A convolution without padding behind it takes it in, by the collapse rule of this name; then only the cast is left.
    The constants are made in that precision at each call: a buffer that went through float32 would not hold the same
    ones in a proof in float64.

    Args:
        mean: of each channel, of levels between 0 and 1; or one number for all channels.
        std: of each channel, above 0.
        scale: from the pixels' own levels to those; 1 for pixels that are floating-point levels already.

    Raises:
        UnsupportedModuleError: mean and std have different lengths or none, a std is not above 0, or a number is not
            finite.

    >>> PixelNormalization([0.5], [0.25])(torch.tensor([[[0, 255]]], dtype=torch.uint8)).tolist()
    [[[-2.0, 2.0]]]
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], scale: float = 1 / 255) -> None:
        super().__init__()
        self.mean, self.std, self.scale = tuple(map(float, mean)), tuple(map(float, std)), float(scale)
        if not self.mean or len(self.mean) != len(self.std):
            raise UnsupportedModuleError(
                "a pixel normalisation",
                f"it has {len(self.mean)} means and {len(self.std)} standard deviations",
                "give one of each for every channel, or one for all",
            )
        if min(self.std) <= 0 or not all(map(math.isfinite, (*self.mean, *self.std, self.scale))):
            raise UnsupportedModuleError(
                "a pixel normalisation", f"its constants are {self.extra_repr()}", "give finite ones, and std above 0"
            )
        self.cast = CastInput()

    def forward(self, pixels: Tensor) -> Tensor:
        """Return values of the shape of the pixels, `(rows, channels, …)`, of any dtype."""
        values: Tensor = self.cast(pixels)
        ones = (1,) * (values.ndim - 2)
        mean, std = (
            torch.tensor(levels, dtype=values.dtype, device=values.device).reshape(-1, *ones)
            for levels in (self.mean, self.std)
        )
        return (values * self.scale - mean) / std

    def extra_repr(self) -> str:
        """Return the constants."""
        return f"mean={self.mean}, std={self.std}, scale={self.scale:.6g}"
