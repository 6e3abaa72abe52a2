"""Tokenizers of images, spectrograms and clips: a convolution, and how many tokens it gives along each axis."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError


class Patches(nn.Module):
    """Patches to tokens by one convolution, in the order of the axes: time or rows first.

    Attributes:
        proj: the convolution, of two or three axes.
        grid: tokens along each axis.
    """

    def __init__(self, proj: nn.Conv2d | nn.Conv3d, grid: Sequence[int]) -> None:
        super().__init__()
        self.proj = proj
        self.grid = tuple(grid)

    @property
    def count(self) -> int:
        """Tokens of a row."""
        return prod(self.grid)

    def forward(self, values: Tensor) -> Tensor:
        """Return `(rows, tokens, width)` of `(rows, channels, …)`."""
        convolved: Tensor = self.proj(values)
        return convolved.flatten(2).transpose(1, 2)

    def extra_repr(self) -> str:
        """Return the grid."""
        return f"grid={self.grid}"


def image_patches(size: Sequence[int], *, patch: int = 16, channels: int = 3, width: int = 768) -> Patches:
    """Return the tokenizer of images: square patches, row by row; 224² pixels give 14 × 14 tokens.

    Args:
        size: height and width in pixels.
        patch: side of a patch in pixels.
        channels: of the image.
        width: of a token.
    """
    return _patches(nn.Conv2d(channels, width, patch, stride=patch), size, (patch, patch), (patch, patch))


def spectrogram_patches(size: Sequence[int], *, patch: int = 16, stride: int = 16, width: int = 768) -> Patches:
    """Return the tokenizer of spectrograms, time by time; 1024 × 128 give 64 × 8 tokens, 101 × 12 at stride 10.

    Args:
        size: frames and mel bands.
        patch: side of a patch, in frames and bands.
        stride: from patch to patch; below `patch` they overlap.
        width: of a token.
    """
    return _patches(nn.Conv2d(1, width, patch, stride=stride), size, (patch, patch), (stride, stride))


def tubelets(
    size: Sequence[int], *, tubelet: tuple[int, int, int] = (2, 16, 16), channels: int = 3, width: int = 768
) -> Patches:
    """Return the tokenizer of clips: blocks of a few frames, time by time; 16 × 224² give 8 × 14 × 14 tokens.

    Args:
        size: frames, height and width.
        tubelet: the same of one tubelet.
        channels: of a frame.
        width: of a token.
    """
    return _patches(nn.Conv3d(channels, width, tubelet, stride=tubelet), size, tubelet, tubelet)


def _patches(proj: nn.Conv2d | nn.Conv3d, size: Sequence[int], kernel: Sequence[int], stride: Sequence[int]) -> Patches:
    if any(length < part for length, part in zip(size, kernel, strict=True)):
        raise UnsupportedModuleError(
            "a tokenizer", f"values of {tuple(size)} have no whole patch of {tuple(kernel)}", "choose smaller patches"
        )
    # As a linear layer over the patch (MAE): the default of a convolution is made for another use.
    nn.init.xavier_uniform_(proj.weight.data.view(proj.weight.shape[0], -1))
    grid = [(length - part) // step + 1 for length, part, step in zip(size, kernel, stride, strict=True)]
    return Patches(proj, grid)
