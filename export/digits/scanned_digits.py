"""Scanned digits: scikit-learn's 1,797 real 8×8 scans, enlarged, partly covered and noisy, as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 40
"""Pixels on each side of a rendered scan."""
_INK_LEVELS = 16.0  # scikit-learn's scans hold 0 (paper) to 16 (ink)


@dataclass(frozen=True)
class Scans:
    """Scans and their digits.

    Attributes:
        pixels: float32 `(scans, 8, 8)`, 0 is paper and 1 is ink.
        digits: int64 `(scans,)`, 0 to 9.
        ids: int64 `(scans,)`, the position of each scan in scikit-learn's data set.
    """

    pixels: NDArray[np.float32]
    digits: NDArray[np.int64]
    ids: NDArray[np.int64]

    def take(self, index: NDArray[np.int64]) -> Scans:
        """Return the scans at these positions."""
        return Scans(self.pixels[index], self.digits[index], self.ids[index])


def load_scans() -> Scans:
    """Return all scans that scikit-learn ships."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = (data.images / _INK_LEVELS).astype(np.float32)
    return Scans(pixels, data.target.astype(np.int64), np.arange(len(pixels), dtype=np.int64))


def split_scans(scans: Scans, fractions: Sequence[float], rng: np.random.Generator) -> list[Scans]:
    """Return the scans in parts, each digit split in the same proportions; no scan is in two parts.

    Args:
        scans: what is split.
        fractions: the size of each part but the last, which gets the rest.
        rng: decides which scan goes where.
    """
    parts: list[list[NDArray[np.int64]]] = [[] for _ in range(len(fractions) + 1)]
    for digit in range(10):
        index = rng.permutation(np.flatnonzero(scans.digits == digit))
        ends = np.round(np.cumsum(fractions) * len(index)).astype(int)
        for part, chosen in zip(parts, np.split(index, ends), strict=True):
            part.append(chosen)
    return [scans.take(np.concatenate(part)) for part in parts]


def png_from_scan(pixels: NDArray[np.float32], rng: np.random.Generator, *, noise: float, cover: float) -> bytes:
    """Return one scan as an 8-bit grey PNG of `SIDE` × `SIDE` pixels, dark paper and light ink.

    Args:
        pixels: float32 `(8, 8)`, 0 to 1.
        rng: decides noise and where the cover lies.
        noise: standard deviation of the Gaussian noise, as a fraction of white.
        cover: side of the square that hides a part, as a fraction of the picture's side.
    """
    enlarged = Image.fromarray(np.uint8(pixels * 255)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    picture = np.asarray(enlarged, dtype=np.float32) / 255 * rng.uniform(0.6, 1.0)
    _cover_a_part(picture, rng, round(cover * SIDE))
    picture += rng.normal(0, noise, picture.shape)
    buffer = io.BytesIO()
    Image.fromarray(np.uint8(np.clip(picture, 0, 1) * 255)).save(buffer, "PNG")
    return buffer.getvalue()


def _cover_a_part(picture: NDArray[np.float32], rng: np.random.Generator, side: int) -> None:
    top, left = rng.integers(0, SIDE - side + 1, size=2)
    picture[top : top + side, left : left + side] = rng.uniform(0, 1)
