"""Spoken English digits by espeak-ng's voices, in noise, as WAV bytes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onepath.clients.payloads import payload_from_value

SPEAKER = Path(__file__).parents[1] / "digits" / "espeak_voice.py"
"""A program of its own: utterances as JSON in, samples as NPZ out."""
RATE_HZ = 22050
SPEAKERS = {
    "train": ("m1", "m3", "f2", "f4", "Andy", "Annie", "klatt2", "Mario"),
    "held_out": ("m7", "f5", "Storm", "belinda"),
}
"""None is heard in both parts."""
CLIP_S = 0.96


@dataclass(frozen=True)
class Clips:
    """Encoded clips and what is said in them.

    Attributes:
        payloads: mono 16-bit WAV of `CLIP_S` seconds each.
        digits: int64 `(clips,)`.
    """

    payloads: Sequence[bytes]
    digits: NDArray[np.int64]


def clips_of(part: str, count: int, generator: np.random.Generator) -> Clips:
    """Return clips of a part's speakers, the digits in turn, at varied speed, pitch, place, loudness and noise."""
    digits = np.arange(count, dtype=np.int64) % 10
    voices = SPEAKERS[part]
    utterances = [
        {
            "text": str(digit),
            "voice": f"en+{voices[generator.integers(len(voices))]}",
            "words_per_minute": int(generator.integers(130, 230)),
            "pitch": int(generator.integers(25, 76)),
        }
        for digit in digits
    ]
    return Clips([_payload(samples, generator) for samples in _spoken(utterances)], digits)


def _spoken(utterances: Sequence[dict[str, object]]) -> list[NDArray[np.int16]]:
    child = subprocess.run(
        [sys.executable, SPEAKER], input=json.dumps(utterances).encode(), stdout=subprocess.PIPE, check=True
    )
    with np.load(io.BytesIO(child.stdout)) as archive:
        return np.split(archive["samples"], archive["ends"][:-1])


def _payload(samples: NDArray[np.int16], generator: np.random.Generator) -> bytes:
    length = round(CLIP_S * RATE_HZ)
    speech = samples[:length].astype(np.float64)
    clip = generator.normal(0, np.std(speech) * generator.uniform(0.05, 0.3), length)
    start = generator.integers(0, length - len(speech) + 1)
    clip[start : start + len(speech)] += speech
    return payload_from_value((clip * generator.uniform(0.2, 0.9) / np.abs(clip).max(), RATE_HZ), "audio")
