"""What a model of images or clips does first with what its processor gives: the centre, normalised; with no weights."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.encoders.pixels import PixelNormalization
from onepath.merging.presets.constants import Normalisation


class CentreCrop(nn.Module):
    """The centre of images or clips.

    Args:
        size: rows and columns that are kept.
    """

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        self.size = tuple(size)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return pixels `(rows, channels, …, height, width)` of the size, of at least that size."""
        top, left = ((have - want) // 2 for have, want in zip(pixels.shape[-2:], self.size, strict=True))
        return pixels[..., top : top + self.size[0], left : left + self.size[1]]

    def extra_repr(self) -> str:
        """Return the size."""
        return f"size={self.size}"


def pixel_preparation(normalisation: Normalisation, channels: int, crop: Sequence[int] | None = None) -> nn.Module:
    """Return the module that takes pixels, 0 to 255, of images or clips to their centre, normalised.

    Args:
        normalisation: of levels between 0 and 1; one channel gets the means of the three.
        channels: 1 or 3.
        crop: sides of the centre that is kept, rows and columns; all of it without.

    Raises:
        UnsupportedModuleError: there are other channels than 1 or as many as the normalisation has.
    """
    if channels not in (1, len(normalisation.mean)):
        raise UnsupportedModuleError(
            "a pixel normalisation", f"there are {channels} channels", f"choose 1 or {len(normalisation.mean)}"
        )
    mean, std = normalisation.mean, normalisation.deviation
    if channels == 1:
        mean, std = ((sum(levels) / len(levels),) for levels in (mean, std))
    normalized = PixelNormalization(mean, std)
    return normalized if crop is None else nn.Sequential(CentreCrop(crop), normalized)
