"""Position tables: fixed ones in one and two dimensions, and learned ones fitted to another grid."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from onepath.contract.errors import UnsupportedModuleError

_PERIOD = 10_000.0


@lru_cache(maxsize=8)  # a model asks for its table in every run
def sinusoid_positions(tokens: int, width: int) -> NDArray[np.float64]:
    """Return the fixed table of Vaswani et al. (2017), float64 `(tokens, width)`: sines, then cosines, by turns.

    The table is shared, hence read-only.

    >>> sinusoid_positions(2, 4)[0].tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    column = np.arange(width)
    angles = np.arange(tokens)[:, None] / _PERIOD ** (2 * (column // 2) / width)
    table = np.where(column % 2 == 0, np.sin(angles), np.cos(angles))
    table.setflags(write=False)
    return table


class SinusoidPositions(nn.Module):
    """The fixed table of `sinusoid_positions` added to tokens; a module, so that what is around it can be followed."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens `(rows, tokens, width)` with their positions, of the same shape."""
        table = sinusoid_positions(tokens.shape[1], tokens.shape[2])
        return tokens + torch.tensor(table, dtype=tokens.dtype, device=tokens.device)


def grid_positions(width: int, rows: int, columns: int) -> NDArray[np.float64]:
    """Return the fixed 2-D table of MAE, float64 `(rows * columns, width)`, tokens row by row.

    The first half of the width tells the column, the second half the row; each half is sines, then cosines.

    Raises:
        UnsupportedModuleError: the width is not a multiple of 4.
    """
    if width % 4:
        raise UnsupportedModuleError(
            "a 2-D position table", f"its width {width} is not a multiple of 4", "choose another width"
        )
    row, column = (axis.ravel() for axis in np.mgrid[:rows, :columns])
    return np.hstack([_sines_then_cosines(column, width // 2), _sines_then_cosines(row, width // 2)])


def resized_positions(table: Tensor, old: tuple[int, int], new: tuple[int, int], *, extra_tokens: int = 1) -> Tensor:
    """Return a learned table for another grid of patches, by bicubic interpolation; extra tokens keep their rows.

    Args:
        table: `(1, extra_tokens + old rows * old columns, width)`, the extra tokens, such as a class token, first.
        old: rows and columns of its grid.
        new: rows and columns wanted.
        extra_tokens: how many tokens belong to no patch.

    Raises:
        UnsupportedModuleError: the table does not have that many tokens.
    """
    check_tokens(table, extra_tokens + old[0] * old[1])
    if old == new:
        return table
    patches = table[:, extra_tokens:].reshape(1, *old, -1).permute(0, 3, 1, 2)
    resized = functional.interpolate(patches, size=new, mode="bicubic", align_corners=False)
    return torch.cat([table[:, :extra_tokens], resized.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def resized_clip_positions(table: Tensor, old: tuple[int, int, int], new: tuple[int, int, int]) -> Tensor:
    """Return a learned table for another grid of tubelets: linear in time, then bicubic in space.

    Args:
        table: `(1, times * rows * columns, width)`, without a class token.
        old: times, rows and columns of its grid.
        new: times, rows and columns wanted.

    Raises:
        UnsupportedModuleError: the table does not have that many tokens.
    """
    check_tokens(table, old[0] * old[1] * old[2])
    width = table.shape[2]
    x = table.reshape(old[0], old[1] * old[2] * width)
    if old[0] != new[0]:
        x = functional.interpolate(x.T.unsqueeze(0), size=new[0], mode="linear", align_corners=False)[0].T
    frames = x.reshape(new[0], old[1] * old[2], width)
    return torch.cat(
        [resized_positions(frame.unsqueeze(0), old[1:], new[1:], extra_tokens=0) for frame in frames], dim=1
    )


def check_tokens(table: Tensor, tokens: int) -> None:
    """Check that a table is `(1, tokens, width)`.

    Raises:
        UnsupportedModuleError: it is not.
    """
    if table.ndim != 3 or table.shape[:2] != (1, tokens):
        raise UnsupportedModuleError(
            "a position table", f"its shape is {tuple(table.shape)}, not (1, {tokens}, width)", "name its own grid"
        )


def _sines_then_cosines(places: NDArray[np.int_], width: int) -> NDArray[np.float64]:
    angles = np.outer(places, _PERIOD ** -(np.arange(width // 2) / (width // 2)))
    return np.hstack([np.sin(angles), np.cos(angles)])
