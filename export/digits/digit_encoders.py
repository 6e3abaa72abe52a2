"""The three encoders: a ViT on pixels, a transformer on a log-mel spectrogram, windows of characters on text.

Each is a fixed preparation (casting, normalisation, cutting into pieces), a trunk that gives the features of a row, and
a head. They take what their processors make, and any number of rows, zero too.
"""

from __future__ import annotations

import torch
from log_mel import LogMel
from torch import Tensor, nn
from torch.nn import functional
from transformer_blocks import PooledTransformer

WIDTH = 48
"""Width of the image's and the audio's transformer blocks: a pathway between them needs it equal."""
TEXT_WIDTH = 64
CLASSES = 10
_EMBEDDING = 24
_SPAN, _BANDS = 3, 32


class DigitEncoder(nn.Module):
    """A single-modality classifier.

    Args:
        preparation: values to what the trunk takes; nothing in it is trained.
        trunk: prepared values to features `(rows, width)`.
        width: of the features.
    """

    def __init__(self, preparation: nn.Module, trunk: nn.Module, width: int) -> None:
        super().__init__()
        self.preparation = preparation
        self.trunk = trunk
        self.width = width
        self.head = nn.Linear(width, CLASSES)

    def forward(self, values: Tensor) -> Tensor:
        """Return logits `(rows, 10)`."""
        logits: Tensor = self.head(self.trunk(self.preparation(values)))
        return logits

    def without_head(self) -> nn.Sequential:
        """Return the module `values -> features (rows, width)`; it shares this encoder's weights."""
        return nn.Sequential(self.preparation, self.trunk)


def image_encoder(side: int, *, patch: int = 8) -> DigitEncoder:
    """Return a ViT on uint8 `(rows, 1, side, side)`: a token for each patch, four blocks."""
    trunk = PooledTransformer(patch=patch**2, tokens=(side // patch) ** 2, width=WIDTH, depth=4, heads=4)
    return DigitEncoder(Patches(side, patch), trunk, WIDTH)


def audio_encoder(samples: int) -> DigitEncoder:
    """Return a transformer on int16 `(rows, samples)` at 8 kHz: a token for every 48 ms, three blocks."""
    pieces = SpectrogramPieces(samples)
    trunk = PooledTransformer(patch=_SPAN * _BANDS, tokens=pieces.count, width=WIDTH, depth=3, heads=4)
    return DigitEncoder(pieces, trunk, WIDTH)


def text_encoder(characters: int, length: int) -> DigitEncoder:
    """Return windows of characters on integer ids `(rows, length)` below `characters`."""
    return DigitEncoder(nn.Identity(), CharacterWindows(characters, length), TEXT_WIDTH)


class Patches(nn.Module):
    """Pixels to patches, scaled to -1 to 1."""

    scale: Tensor

    def __init__(self, side: int, patch: int) -> None:
        super().__init__()
        self.across, self.patch = side // patch, patch
        self.register_buffer("scale", torch.tensor(255 / 2))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return `(rows, tokens, patch²)` of uint8 `(rows, 1, side, side)`."""
        scaled = pixels.to(self.scale.dtype) / self.scale - 1
        grid = scaled.reshape(-1, self.across, self.patch, self.across, self.patch).transpose(2, 3)
        return grid.reshape(-1, self.across**2, self.patch**2)


class SpectrogramPieces(nn.Module):
    """Samples to pieces of a log-mel spectrogram, a few frames each."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.log_mel = LogMel(samples=samples, sample_rate_hz=8000, hop=128, bands=_BANDS)
        self.count = self.log_mel.frames // _SPAN

    def forward(self, samples: Tensor) -> Tensor:
        """Return `(rows, pieces, frames * bands)` of int16 `(rows, samples)`."""
        frames: Tensor = self.log_mel(samples)[:, : self.count * _SPAN]
        return frames.reshape(-1, self.count, _SPAN * _BANDS) / 2


class CharacterWindows(nn.Module):
    """Embedded characters, seen through two layers of windows of three, and the strongest response of all places."""

    def __init__(self, characters: int, length: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(characters, _EMBEDDING)
        self.positions = nn.Parameter(torch.randn(length, _EMBEDDING) * 0.1)
        self.near = nn.Linear(3 * _EMBEDDING, TEXT_WIDTH)
        self.far = nn.Linear(3 * TEXT_WIDTH, TEXT_WIDTH)
        self.norm = nn.LayerNorm(TEXT_WIDTH)

    def forward(self, ids: Tensor) -> Tensor:
        """Return features `(rows, TEXT_WIDTH)` of integer ids `(rows, length)`."""
        x = self.embed(ids.to(torch.int64)) + self.positions
        x = functional.gelu(self.near(_windows(x)))
        x = self.norm(functional.gelu(self.far(_windows(x))))
        strongest: Tensor = x.amax(dim=1)
        return strongest


def _windows(x: Tensor) -> Tensor:
    """Return each position beside its two neighbours, `(rows, length, 3 * width)`, zeros beyond the ends."""
    padded = functional.pad(x, (0, 0, 1, 1))
    return torch.cat([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]], dim=2)
