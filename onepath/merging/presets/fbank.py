"""Kaldi's log-mel filterbank in the graph: one matrix product for frames to spectra, one for spectra to bands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import gcd

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.presets.constants import SpectrogramConstants

_FULL_SCALE = 32768.0
_PREEMPHASIS = 0.97
_LOWEST_HZ = 20.0
_FLOOR = float(np.finfo(np.float32).eps)  # Kaldi's: keeps the logarithm of silence finite


@dataclass(frozen=True)
class FbankSettings:
    """The filterbank of the audio transformers: HTK's mel scale, Hann window, no dither, no energy.

    Attributes:
        sample_rate_hz: of the samples.
        bands: mel bands from 20 Hz to half of the rate.
        window_ms: length of a frame.
        shift_ms: from frame to frame.
        frames: of a row; zeros follow a shorter spectrogram.
        mean: of the log-mel values.
        deviation: of the log-mel values; a row becomes `(values - mean) / (2 * deviation)`.
    """

    sample_rate_hz: int = 16_000
    bands: int = 128
    window_ms: float = 25.0
    shift_ms: float = 10.0
    frames: int = 1024
    mean: float = 0.0
    deviation: float = 0.5

    @property
    def window(self) -> int:
        """Samples of a frame."""
        return int(self.sample_rate_hz * self.window_ms / 1000)

    @property
    def shift(self) -> int:
        """Samples from frame to frame."""
        return int(self.sample_rate_hz * self.shift_ms / 1000)

    def frames_of(self, samples: int) -> int:
        """Return how many whole frames that many samples have.

        >>> FbankSettings().frames_of(160_000)
        998
        """
        return 1 + (samples - self.window) // self.shift if samples >= self.window else 0


class Fbank(nn.Module):
    """Samples to a normalised log-mel spectrogram; equal to Kaldi's for a whole clip.

    The mean of each frame is taken off, as Kaldi does, so that of the whole clip goes with it. There is no weight, and
    the tables are made in the samples' precision at each call.

    Raises:
        UnsupportedModuleError: a size is below 1, or the deviation not above 0.
    """

    def __init__(self, settings: FbankSettings) -> None:
        super().__init__()
        if min(settings.window, settings.shift, settings.bands, settings.frames) < 1 or settings.deviation <= 0:
            raise UnsupportedModuleError(
                "a filterbank", f"{settings} has a size below 1, or no deviation", "choose others"
            )
        self.settings = settings

    def forward(self, samples: Tensor) -> Tensor:
        """Return `(rows, 1, frames, bands)`.

        Args:
            samples: floating-point `(rows, samples)`, full scale at 32768, at least one frame of them.
        """
        settings = self.settings
        bands = self._log_mel(samples / _FULL_SCALE)[:, : settings.frames]
        missing = settings.frames - bands.shape[1]
        padded = torch.nn.functional.pad(bands, (0, 0, 0, missing)) if missing else bands
        return ((padded - settings.mean) / (2 * settings.deviation)).unsqueeze(1)

    def extra_repr(self) -> str:
        """Return the settings."""
        return str(self.settings)

    def _log_mel(self, samples: Tensor) -> Tensor:
        settings = self.settings
        tables = _tables(settings.window, settings.sample_rate_hz, settings.bands)
        spectra, mel = (torch.tensor(table, dtype=samples.dtype, device=samples.device) for table in tables)
        real, imaginary = (self._framed(samples) @ spectra).chunk(2, dim=2)
        return torch.log(((real.square() + imaginary.square()) @ mel).clamp(min=_FLOOR))

    def _framed(self, samples: Tensor) -> Tensor:
        """Return frames, `(rows, frames, window)`, from slices of pieces that both window and shift are made of."""
        settings = self.settings
        frames = settings.frames_of(samples.shape[1])
        if frames < 1:
            raise UnsupportedModuleError(
                f"audio of {samples.shape[1]} samples", f"one frame has {settings.window}", "give longer rows"
            )
        size = gcd(settings.window, settings.shift)
        stride, width = settings.shift // size, settings.window // size
        count = (frames - 1) * stride + width
        pieces = samples[:, : count * size].reshape(-1, count, size)
        last = (frames - 1) * stride + 1
        return torch.cat([pieces[:, offset : offset + last : stride] for offset in range(width)], dim=2)


@torch.no_grad()
def measured_constants(samples: Tensor, settings: FbankSettings) -> SpectrogramConstants:
    """Return the constants of a data set of one's own: mean and deviation of its log-mel values, to three decimals.

    Args:
        samples: int16 `(clips, samples)`, of the clips to learn from.
        settings: of the filterbank; its mean and deviation do not count.
    """
    frames = min(settings.frames, settings.frames_of(samples.shape[1]))
    log_mel = Fbank(replace(settings, frames=frames, mean=0.0, deviation=0.5))(samples.double())
    mean, deviation = (round(float(value), 3) for value in (log_mel.mean(), log_mel.std()))
    return SpectrogramConstants(settings.frames, samples.shape[1] / settings.sample_rate_hz, mean, deviation)


@lru_cache(maxsize=16)
def _tables(window: int, sample_rate_hz: int, bands: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return frames to spectra, float64 `(window, 2 * bins)`, and powers to mel bands, float64 `(bins, bands)`."""
    size = 1 << (window - 1).bit_length()  # frames are followed by zeros up to a power of two
    tables = _spectral_table(window, size), mel_filters(size, sample_rate_hz, bands)
    for table in tables:
        table.setflags(write=False)
    return tables


def _spectral_table(window: int, size: int) -> NDArray[np.float64]:
    """Return mean off, pre-emphasis, Hann window and the DFT without its last bin, all of them one matrix."""
    centred = np.eye(window) - 1 / window
    emphasised = centred.copy()
    emphasised[:, 1:] -= _PREEMPHASIS * centred[:, :-1]
    emphasised[:, 0] -= _PREEMPHASIS * centred[:, 0]
    turns = np.outer(np.arange(window), np.arange(size // 2)) % size
    angles = 2 * np.pi * turns / size
    table: NDArray[np.float64] = (emphasised * np.hanning(window)) @ np.hstack([np.cos(angles), -np.sin(angles)])
    return table


def mel_filters(size: int, sample_rate_hz: int, bands: int) -> NDArray[np.float64]:
    """Return Kaldi's filters, float64 `(size // 2, bands)`: triangles on the mel scale, evenly spaced from 20 Hz on.

    Args:
        size: of the DFT; its last bin, at half of the rate, is in no filter.
        sample_rate_hz: of the samples.
        bands: how many filters.
    """
    hz = np.arange(size // 2)[:, None] * sample_rate_hz / size
    edges = np.linspace(_mel_from_hz(_LOWEST_HZ), _mel_from_hz(sample_rate_hz / 2), bands + 2)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    mel = _mel_from_hz(hz)
    return np.maximum(0.0, np.minimum((mel - low) / (middle - low), (high - mel) / (high - middle)))


def _mel_from_hz(hz: float | NDArray[np.float64]) -> NDArray[np.float64]:
    mel: NDArray[np.float64] = 1127.0 * np.log1p(np.asarray(hz) / 700.0)
    return mel
