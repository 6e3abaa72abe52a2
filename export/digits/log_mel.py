"""A log-mel spectrogram in the graph: framing, a real DFT and the mel bands as matrix products, with no FFT."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_FLOOR = 1e-6  # of full scale's power: keeps the logarithm of silence finite


class LogMel(nn.Module):
    """Samples to a log-mel spectrogram that does not depend on loudness.

    Frames are `2 * hop` samples long and `hop` apart, under a Hann window. The mean over the clip is taken off each
    band, so that the colour of a room's steady noise goes too.

    Args:
        samples: samples of a row.
        sample_rate_hz: their rate.
        hop: samples between frames.
        bands: mel bands, from 60 Hz to half of the rate.
    """

    dft: Tensor
    mel: Tensor

    def __init__(self, *, samples: int, sample_rate_hz: int, hop: int, bands: int) -> None:
        super().__init__()
        self.hop = hop
        self.frames = samples // hop - 1
        self.register_buffer("dft", torch.from_numpy(_windowed_dft(2 * hop)))
        self.register_buffer("mel", torch.from_numpy(mel_filters(2 * hop, sample_rate_hz, bands)))

    def forward(self, samples: Tensor) -> Tensor:
        """Return `(rows, frames, bands)` of int16 samples `(rows, samples)`."""
        whole = samples[:, : self.hop * (self.frames + 1)].to(self.dft.dtype) / 32768
        hops = whole.reshape(-1, self.frames + 1, self.hop)
        spectrum = torch.cat([hops[:, :-1], hops[:, 1:]], dim=2) @ self.dft
        real, imaginary = spectrum.chunk(2, dim=2)
        log = torch.log((real.square() + imaginary.square()) @ self.mel + _FLOOR)
        return log - log.mean(dim=1, keepdim=True)


def _windowed_dft(size: int) -> NDArray[np.float32]:
    """Return float32 `(size, 2 * (size // 2 + 1))`: the window times cosines, then times sines."""
    time = np.arange(size)
    angle = 2 * np.pi * np.outer(time, np.arange(size // 2 + 1)) / size
    window = np.hanning(size + 1)[:-1, None]
    table: NDArray[np.float32] = np.hstack([window * np.cos(angle), window * np.sin(angle)]).astype(np.float32)
    return table


def mel_filters(size: int, sample_rate_hz: int, bands: int) -> NDArray[np.float32]:
    """Return triangular filters, float32 `(size // 2 + 1, bands)`, evenly spaced on the mel scale of O'Shaughnessy."""

    def mel_from_hz(hz: float) -> float:
        return float(2595 * np.log10(1 + hz / 700))

    mels = np.linspace(mel_from_hz(60), mel_from_hz(sample_rate_hz / 2), bands + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    hz = np.arange(size // 2 + 1)[:, None] * sample_rate_hz / size
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (hz - low) / (middle - low), (high - hz) / (high - middle)
    filters: NDArray[np.float32] = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    return filters
