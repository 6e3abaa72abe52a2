"""The demo's data: each modality split by itself, then paired by digit into rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scanned_digits import Scans, load_scans, png_from_scan, split_scans
from spoken_digits import SPEAKERS, clips_of, noises_of, wav_from_clip
from typed_digits import typed_names

MODALITIES = ("image", "audio", "text")
SPLITS = ("test", "pairs", "train")
"""`train` for what learns from one modality, `pairs` for what learns from rows, `test` for no learning at all."""

_FRACTIONS = (1 / 3, 1 / 10)  # of the scans, for test and pairs; the rest is for training
_NOISE, _COVER = 0.2, 0.3
_SNR_DB = (4.0, 16.0)
_NOISES = 100  # of a split
_SLIPS = {"train": (0, 0, 1, 1, 2), "pairs": (1, 2), "test": (1, 2)}

Row = Mapping[str, bytes]


@dataclass(frozen=True)
class Payloads:
    """Encoded payloads of one modality.

    Attributes:
        encoded: PNG, WAV or UTF-8 bytes.
        digits: int64 `(payloads,)`, what each shows, says or spells.
        sources: what each was made from (a scan, a voice, a string); train and test have none in common.
    """

    encoded: Sequence[bytes]
    digits: NDArray[np.int64]
    sources: Sequence[str]

    def __len__(self) -> int:
        return len(self.encoded)


@dataclass(frozen=True)
class Rows:
    """Rows with every modality present.

    Attributes:
        payloads: modality to encoded bytes, one mapping a row.
        digits: int64 `(rows,)`.
    """

    payloads: Sequence[Row]
    digits: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.payloads)


Corpus = Mapping[str, Mapping[str, Payloads]]
"""Split to modality to payloads; no two splits have a source in common, and nothing is paired yet."""


def corpus_from_seed(seed: int, *, renderings: int, splits: Sequence[str] = SPLITS) -> Corpus:
    """Return the corpus; equal arguments give equal bytes, and a split is the same whichever others are asked for.

    Args:
        seed: decides everything random.
        renderings: how often a scan is rendered for `train` and `pairs`, with other noise each time. The other two
            modalities get as many payloads; every clip is heard twice there, in two noises.
        splits: those to make.
    """
    parts = dict(zip(SPLITS, split_scans(load_scans(), _FRACTIONS, np.random.default_rng(seed)), strict=True))
    taken: frozenset[str] = frozenset()
    corpus: dict[str, dict[str, Payloads]] = {}
    for index, split in enumerate(reversed(SPLITS)):
        image_rng, audio_rng, text_rng = np.random.default_rng([seed, index]).spawn(3)
        times = 1 if split == "test" else renderings
        text = _text(np.tile(parts[split].digits, times), _SLIPS[split], taken, text_rng)
        taken |= set(text.sources)
        if split in splits:
            image = _images(parts[split], times, image_rng)
            corpus[split] = {"image": image, "audio": _audio(image.digits, split, audio_rng), "text": text}
    return corpus


def test_rows_from_seed(seed: int, *, renderings: int) -> Rows:
    """Return the rows that nothing learns from; see `corpus_from_seed`."""
    corpus = corpus_from_seed(seed, renderings=renderings, splits=("test",))
    return pair_by_digit(corpus["test"], np.random.default_rng(seed))


def pair_by_digit(modalities: Mapping[str, Payloads], rng: np.random.Generator) -> Rows:
    """Return as many rows as the payloads allow, each of payloads of one digit, none of them used twice."""
    payloads: list[Row] = []
    digits: list[int] = []
    for digit in range(10):
        places = [rng.permutation(np.flatnonzero(each.digits == digit)) for each in modalities.values()]
        for chosen in zip(*places, strict=False):  # the scarcest modality decides how many rows a digit has
            parts = zip(modalities.items(), chosen, strict=True)
            payloads.append({name: each.encoded[place] for (name, each), place in parts})
            digits.append(digit)
    order = rng.permutation(len(digits))
    return Rows([payloads[place] for place in order], np.array(digits, dtype=np.int64)[order])


def _images(scans: Scans, times: int, rng: np.random.Generator) -> Payloads:
    index = np.tile(np.arange(len(scans.digits)), times)
    encoded = [png_from_scan(scans.pixels[place], rng, noise=_NOISE, cover=_COVER) for place in index]
    return Payloads(encoded, scans.digits[index], [f"scan {scans.ids[place]}" for place in index])


def _audio(digits: NDArray[np.int64], split: str, rng: np.random.Generator) -> Payloads:
    noises = noises_of(_NOISES, rng)
    once = digits if split == "test" else digits[: len(digits) // 2]
    clips = clips_of([int(digit) for digit in once], SPEAKERS[split], rng)
    heard = [*clips, *clips][: len(digits)]
    encoded = [
        wav_from_clip(clip, noises[rng.integers(len(noises))], rng, snr_db=rng.uniform(*_SNR_DB)) for clip in heard
    ]
    said = np.array([clip.digit for clip in heard], dtype=np.int64)
    return Payloads(encoded, said, [clip.voice for clip in heard])


def _text(digits: NDArray[np.int64], slips: Sequence[int], avoid: frozenset[str], rng: np.random.Generator) -> Payloads:
    typed = typed_names([int(digit) for digit in digits], rng, slips=slips, avoid=avoid)
    return Payloads([text.encode() for text in typed], digits, typed)
