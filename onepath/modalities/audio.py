"""Audio: WAV, FLAC, OGG and MP3 bytes to int16 mono samples of a fixed rate and length."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from onepath.contract.dtypes import DType
from onepath.contract.tensors import Closed
from onepath.modalities.audio_header import check_whole, format_from_payload
from onepath.modalities.audio_stream import AudioLimits, mono_from_payload
from onepath.modalities.decoding import check_size, corrupt_on_failure, require_module

FULL_SCALE = 32768
"""The int16 distance of 1.0."""


class AudioSettings(Closed):
    """What the model fixed.

    Attributes:
        sample_rate_hz: samples per second of the model.
        seconds: the length of a row; shorter audio is followed by silence.
        crop: which part of longer audio is kept.
    """

    sample_rate_hz: int = Field(ge=1000, le=192_000)
    seconds: float = Field(gt=0, le=3600, allow_inf_nan=False)
    crop: Literal["start", "centre"] = "start"

    @property
    def samples(self) -> int:
        """Samples of one row."""
        return round(self.sample_rate_hz * self.seconds)

    @model_validator(mode="after")
    def _at_least_one_sample(self) -> AudioSettings:
        if self.samples < 1:
            raise ValueError(f"{self.seconds:g} s at {self.sample_rate_hz} Hz is less than one sample")
        return self


class AudioProcessor:
    """Turns encoded audio into samples: the mean of its channels, at the model's rate, cut or padded to its length."""

    settings_type: ClassVar[type[AudioSettings]] = AudioSettings
    limits_type: ClassVar[type[AudioLimits]] = AudioLimits

    def __init__(self, settings: AudioSettings, limits: AudioLimits, assets: Path) -> None:
        """Prepare to decode; audio needs no files.

        Raises:
            MissingExtraError: soundfile or soxr is not installed.
        """
        del assets
        for package in ("soundfile", "soxr"):
            require_module(package, package, purpose="decoding audio")
        self._settings = settings
        self._limits = limits

    @property
    def dtype(self) -> DType:
        """Always int16."""
        return "int16"

    @property
    def shape(self) -> tuple[int, ...]:
        """`(samples,)`."""
        return (self._settings.samples,)

    def decode(self, payload: bytes) -> NDArray[np.generic]:
        """Return the samples of one row, int16 `(samples,)`; 1.0 is 32768, and what is louder is clipped.

        Sixteen-bit mono at the model's rate passes unchanged.

        Raises:
            PayloadError: the payload is empty, too large, of another format, corrupt or cut off, or its audio has no
                samples, lasts too long, has too many channels, an absurd rate, or samples that are NaN, infinite or
                far over full scale.
        """
        check_size(payload, self._limits.max_bytes)
        found = format_from_payload(payload)
        with corrupt_on_failure(f"{found} audio"):
            check_whole(payload, found)
            mono, rate_hz = mono_from_payload(payload, self._limits)
            return self._row(_at_rate(mono, rate_hz, self._settings.sample_rate_hz))

    def _row(self, mono: NDArray[np.float32]) -> NDArray[np.int16]:
        length = self._settings.samples
        start = max(0, (len(mono) - length) // 2) if self._settings.crop == "centre" else 0
        kept = mono[start : start + length]
        row = np.zeros(length, dtype=np.int16)
        row[: len(kept)] = np.clip(np.rint(kept * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
        return row


def _at_rate(mono: NDArray[np.float32], rate_hz: int, target_hz: int) -> NDArray[np.float32]:
    import soxr

    if rate_hz == target_hz:
        return mono
    resampled: NDArray[np.float32] = soxr.resample(mono, rate_hz, target_hz, quality="HQ")
    return resampled
