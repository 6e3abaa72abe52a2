"""Spoken digits: espeak-ng voices of eight languages at many speeds and pitches, in noise, as 16-bit WAV bytes."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from espeak_voice import SAMPLE_RATE_HZ, Utterance, speak
from numpy.typing import NDArray

LANGUAGES = ("de", "en", "es", "fr", "it", "nl", "pl", "sv")
SPEAKERS = {
    "train": ("m1", "m3", "f2", "f4", "Andy", "Annie", "klatt2", "Mario"),
    "pairs": ("m5", "f3", "Lee", "linda"),
    "test": ("m7", "f5", "Storm", "belinda"),
}
"""Split to the speakers that are heard in it; none is heard in two."""
CLIP_S = 1.0
"""Seconds of every clip; what was said lies somewhere in it."""


@dataclass(frozen=True)
class Clip:
    """One spoken digit.

    Attributes:
        digit: 0 to 9.
        voice: language and speaker.
        samples: int16 `(samples,)` at `SAMPLE_RATE_HZ`, without noise.
    """

    digit: int
    voice: str
    samples: NDArray[np.int16]


def voices_of(speakers: Sequence[str]) -> list[str]:
    """Return every voice that these speakers have: each of them in each language."""
    return [f"{language}+{speaker}" for language in LANGUAGES for speaker in speakers]


def clips_of(digits: Sequence[int], speakers: Sequence[str], rng: np.random.Generator) -> list[Clip]:
    """Return one clip per digit, said by voices of these speakers at varied speed and pitch."""
    voices = voices_of(speakers)
    utterances = [
        Utterance(
            text=str(digit),
            voice=voices[rng.integers(len(voices))],
            words_per_minute=int(rng.integers(110, 260)),
            pitch=int(rng.integers(20, 81)),
        )
        for digit in digits
    ]
    spoken = speak(utterances)
    return [Clip(int(u.text), u.voice, samples) for u, samples in zip(utterances, spoken, strict=True)]


def noises_of(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return noises of unit power whose spectra fall with frequency, from white to brown, as those of rooms do.

    Returns:
        float32 `(count, samples)`, each `CLIP_S` seconds long.
    """
    length = round(CLIP_S * SAMPLE_RATE_HZ)
    spectra = np.fft.rfft(rng.normal(size=(count, length)))
    steepness = rng.uniform(0, 1, size=(count, 1))
    spectra[:, 1:] *= np.arange(1, spectra.shape[1]) ** -steepness
    spectra[:, 0] = 0
    noises = np.fft.irfft(spectra, length)
    noises /= np.sqrt(np.mean(noises**2, axis=1, keepdims=True))
    return noises.astype(np.float32)


def wav_from_clip(clip: Clip, noise: NDArray[np.float32], rng: np.random.Generator, *, snr_db: float) -> bytes:
    """Return a clip as a mono 16-bit WAV of `CLIP_S` seconds at `SAMPLE_RATE_HZ`, at a random place, in noise.

    Args:
        clip: what was said.
        noise: float32 `(samples,)` of unit power; it is turned round by a random part.
        rng: decides the place, the loudness and the turn.
        snr_db: power of the speech over the power of the noise, in decibels.
    """
    speech = clip.samples[: len(noise)].astype(np.float32)
    power = float(np.mean(speech**2))
    start = rng.integers(0, len(noise) - len(speech) + 1)
    noisy = np.roll(noise, rng.integers(len(noise))) * np.sqrt(power / 10 ** (snr_db / 10))
    noisy[start : start + len(speech)] += speech
    return _wav(noisy * (rng.uniform(0.2, 0.9) * np.iinfo(np.int16).max / np.abs(noisy).max()))


def _wav(samples: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(np.round(samples).astype("<i2").tobytes())
    return buffer.getvalue()
