"""Scanned digits told twice: as a table of how much ink each line and column has, and as a noisy, covered picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onepath.clients.payloads import payload_from_value

LINES = 8
"""Pixels on each side of scikit-learn's scans; a scan's table has as many lines and as many columns."""
SIDE = 32
"""Pixels on each side of a picture."""
_INK_LEVELS = 16.0
_TABLE_NOISE, _NOISE, _COVER = 0.04, 0.15, 0.25

Row = dict[str, bytes]


@dataclass(frozen=True)
class Scans:
    """Scans and their digits.

    Attributes:
        ink: float64 `(scans, 8, 8)`, 0 is paper and 1 is ink.
        digits: int64 `(scans,)`.
    """

    ink: NDArray[np.float64]
    digits: NDArray[np.int64]


def split_scans(sizes: Sequence[int], rng: np.random.Generator) -> list[Scans]:
    """Return scikit-learn's 1,797 scans in random order, in parts of these sizes and one more of the rest."""
    from sklearn.datasets import load_digits

    data = load_digits()
    parts = np.split(rng.permutation(len(data.target)), np.cumsum(sizes))
    return [Scans(data.images[part] / _INK_LEVELS, data.target[part].astype(np.int64)) for part in parts]


def repeated(scans: Scans, times: int) -> Scans:
    """Return the scans several times, for as many renderings of each."""
    return Scans(np.tile(scans.ink, (times, 1, 1)), np.tile(scans.digits, times))


def tables_of(scans: Scans, rng: np.random.Generator) -> list[bytes]:
    """Return each scan's mean ink of every line and every column, measured with an error, as JSON."""
    means = np.concatenate([scans.ink.mean(2), scans.ink.mean(1)], axis=1)
    measured = means + rng.normal(0, _TABLE_NOISE, means.shape)
    names = [f"{kind}_{place}" for kind in ("line", "column") for place in range(1, LINES + 1)]
    return [payload_from_value(dict(zip(names, row.round(4).tolist(), strict=True)), "tabular") for row in measured]


def pictures_of(scans: Scans, rng: np.random.Generator) -> list[bytes]:
    """Return each scan enlarged, with a square of it covered by paper and noise on all of it, as PNG."""
    return [payload_from_value(_picture(ink, rng), "image") for ink in scans.ink]


def rows_of(scans: Scans, rng: np.random.Generator) -> list[Row]:
    """Return rows with both modalities of each scan."""
    tables, pictures = tables_of(scans, rng), pictures_of(scans, rng)
    return [{"table": table, "image": picture} for table, picture in zip(tables, pictures, strict=True)]


def _picture(ink: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.uint8]:
    enlarged = Image.fromarray(np.uint8(ink * 255)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    levels = np.array(enlarged, dtype=np.float64) / 255
    cover = round(_COVER * SIDE)
    top, left = rng.integers(0, SIDE - cover + 1, size=2)
    levels[top : top + cover, left : left + cover] = 0
    return np.uint8(np.clip(levels + rng.normal(0, _NOISE, levels.shape), 0, 1) * 255)
