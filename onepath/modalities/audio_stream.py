"""Decoding audio block by block into mono, within limits that hold even where the header lies."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from onepath.contract.tensors import Closed
from onepath.modalities.audio_header import FORMATS, check_length
from onepath.modalities.errors import CorruptError, NotFiniteError, OutOfRangeError, UnsupportedFormatError
from onepath.modalities.media_errors import SampleRateError, TooLongError, TooManyChannelsError

_BLOCK_SAMPLES = 1 << 16
_LOUDEST = 32.0
_UNKNOWN_LENGTH = (1 << 63) - 1  # what libsndfile says of a FLAC without a length, whose end soundfile cannot read
_READABLE = ("WAV", "WAVEX", "FLAC", "OGG", "MP3")


class AudioLimits(Closed):
    """What a payload may cost; checked against its header before decoding, and again while decoding.

    Attributes:
        max_bytes: the most encoded bytes.
        max_seconds: the longest duration, before it is cut to the model's.
        min_rate_hz: the lowest sample rate.
        max_rate_hz: the highest sample rate.
        max_channels: the most channels.
    """

    max_bytes: int = Field(default=32 << 20, gt=0)
    max_seconds: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    min_rate_hz: int = Field(default=1000, gt=0)
    max_rate_hz: int = Field(default=384_000, gt=0)
    max_channels: int = Field(default=8, gt=0)


def mono_from_payload(payload: bytes, limits: AudioLimits) -> tuple[NDArray[np.float32], int]:
    """Return the mean of the channels, float32 `(samples,)` with full scale 1.0, and the sample rate in hertz.

    Raises:
        PayloadError: a limit is passed, or there are no samples, or some are NaN, infinite or far over full scale.
        Exception: whatever else soundfile raises for bytes that it cannot read.
    """
    import soundfile

    source = io.BytesIO(payload)
    try:
        with soundfile.SoundFile(source) as sound:
            if sound.format not in _READABLE:
                raise UnsupportedFormatError("audio", payload, FORMATS)
            _check_header(sound, limits)
            mono = np.concatenate([np.empty(0, dtype=np.float32), *_mono_blocks(sound, limits)])
            check_length(payload, decoded=len(mono), announced=sound.frames, position=source.tell())
            return mono, sound.samplerate
    except soundfile.LibsndfileError as error:  # Its words speak of files, and of a place in memory.
        raise CorruptError("audio", f"libsndfile's error {error.code}") from error


def _check_header(sound: Any, limits: AudioLimits) -> None:  # soundfile has no types
    if not limits.min_rate_hz <= sound.samplerate <= limits.max_rate_hz:
        raise SampleRateError(sound.samplerate, limits.min_rate_hz, limits.max_rate_hz)
    if sound.channels > limits.max_channels:
        raise TooManyChannelsError(sound.channels, limits.max_channels)
    if sound.frames == _UNKNOWN_LENGTH:
        raise CorruptError(f"{sound.format} audio", "it was written as a stream, without its length")
    _check_duration(sound.frames, sound.samplerate, limits)


def _check_duration(frames: int, rate_hz: int, limits: AudioLimits) -> None:
    if frames > limits.max_seconds * rate_hz:
        raise TooLongError(frames / rate_hz, limits.max_seconds)


def _mono_blocks(sound: Any, limits: AudioLimits) -> Iterator[NDArray[np.float32]]:  # soundfile has no types
    frames = 0
    while len(block := sound.read(_BLOCK_SAMPLES, dtype="float32", always_2d=True)):
        frames += len(block)
        _check_duration(frames, sound.samplerate, limits)
        _check_levels(block)
        yield block[:, 0] if sound.channels == 1 else block.mean(axis=1, dtype=np.float64).astype(np.float32)


def _check_levels(block: NDArray[np.float32]) -> None:
    peak = float(np.abs(block).max())  # NaN, if any sample is
    if not np.isfinite(peak):
        raise NotFiniteError("a sample")
    if peak > _LOUDEST:
        raise OutOfRangeError("a sample", peak, "full scale is 1; divide integer samples before storing them as float")
