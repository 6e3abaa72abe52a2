"""Leaving tokens out in training: a share of all of them, or shares of the rows and of the columns of their grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from onepath.contract.errors import UnsupportedModuleError


class TokenMasking(Protocol):
    """Draws which tokens of each row stay."""

    def kept(self, rows: int, *, device: torch.device, generator: torch.Generator | None = None) -> Tensor:
        """Return their positions, int64 `(rows, kept)`, ascending, from a generator, or torch's own without one."""


@dataclass(frozen=True)
class ShareMasking:
    """Leaves out a share of the tokens, each equally likely, as MAE does in pre-training.

    Attributes:
        tokens: of a row, without the class token.
        share: of them that is left out; MAE takes 0.75 for images, 0.8 for audio.
    """

    tokens: int
    share: float = 0.75

    def __post_init__(self) -> None:
        """Refuse a share that is none."""
        _check_share("share", self.share)

    def kept(self, rows: int, *, device: torch.device, generator: torch.Generator | None = None) -> Tensor:
        """Return the positions that stay, int64 `(rows, int(tokens * (1 - share)))`, ascending."""
        return _drawn(rows, self.tokens, _count(self.tokens, self.share), device=device, generator=generator)


@dataclass(frozen=True)
class GridMasking:
    """Leaves out whole rows and columns of a grid, as AudioMAE does in fine-tuning: times and frequencies.

    Attributes:
        times: rows of the grid.
        frequencies: its columns.
        time_share: of the times that is left out.
        frequency_share: of the frequencies that is left out.
    """

    times: int
    frequencies: int
    time_share: float = 0.2
    frequency_share: float = 0.2

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        _check_share("time_share", self.time_share)
        _check_share("frequency_share", self.frequency_share)

    def kept(self, rows: int, *, device: torch.device, generator: torch.Generator | None = None) -> Tensor:
        """Return the positions that stay, int64 `(rows, kept times * kept frequencies)`, ascending."""
        times, frequencies = (
            _drawn(rows, size, _count(size, share), device=device, generator=generator)
            for size, share in ((self.times, self.time_share), (self.frequencies, self.frequency_share))
        )
        return (times.unsqueeze(2) * self.frequencies + frequencies.unsqueeze(1)).flatten(1)


def take_tokens(tokens: Tensor, kept: Tensor) -> Tensor:
    """Return the tokens at the positions that stay, `(rows, kept, width)`.

    Args:
        tokens: `(rows, tokens, width)`.
        kept: int64 `(rows, kept)`.
    """
    return torch.gather(tokens, 1, kept.unsqueeze(2).expand(-1, -1, tokens.shape[2]))


def _count(size: int, share: float) -> int:
    return max(1, int(size * (1 - share)))


def _drawn(rows: int, size: int, count: int, *, device: torch.device, generator: torch.Generator | None) -> Tensor:
    noise = torch.rand(rows, size, device=device, generator=generator)
    return noise.argsort(dim=1)[:, :count].sort(dim=1).values


def _check_share(name: str, share: float) -> None:
    if not 0 <= share < 1:
        raise UnsupportedModuleError("a token masking", f"{name} is {share}", "choose it in [0, 1)")
