"""Presence as data: the state of each modality in each row, and the patterns that a set of modalities can form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

ABSENT = 0
"""State of a modality that the row does not have, or whose bad payload counts as absent."""
PRESENT = 1
"""State of a modality whose payload was decoded and is used."""
FAILED = 2
"""State of a modality whose bad or missing payload fails the whole row."""

ROW_OK = 0
"""Row status: at least one modality was used and none failed the row."""
ROW_EMPTY = 1
"""Row status: nothing was present, the outputs are zeros."""
ROW_FAILED = 2
"""Row status: a modality failed the row, the outputs are zeros."""

ROW_STATUS_TEXT = {
    ROW_OK: "",
    ROW_EMPTY: "nothing is present in this row: every modality is absent or could not be used",
    ROW_FAILED: "the row failed: a required modality is missing or could not be decoded",
}

States = NDArray[np.uint8]
"""uint8 `(rows,)` or `(rows, modalities)`, each one of ABSENT, PRESENT, FAILED."""


def patterns(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every non-empty subset of the modalities, the smallest first, each in the given order.

    >>> patterns(["image", "audio"])
    [('image',), ('audio',), ('image', 'audio')]
    """
    return [subset for size in range(1, len(modalities) + 1) for subset in combinations(modalities, size)]


def pattern_name(present: Iterable[str]) -> str:
    """Return the name of a pattern: its modalities joined by `+`, or `none`.

    >>> pattern_name(("image", "text"))
    'image+text'
    """
    return "+".join(present) or "none"


def pattern_from_presence(presence: Sequence[int], modalities: Sequence[str]) -> tuple[str, ...]:
    """Return the modalities whose entry is PRESENT.

    >>> pattern_from_presence([1, 0, 1], ["image", "audio", "text"])
    ('image', 'text')
    """
    return tuple(name for name, state in zip(modalities, presence, strict=True) if state == PRESENT)
