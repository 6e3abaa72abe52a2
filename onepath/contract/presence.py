"""Presence as data: the state of each modality in each row, and the patterns that a set of modalities can form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from math import comb

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


def accepted_patterns(modalities: Sequence[str], required: Iterable[str] = ()) -> int:
    """Return how many presence patterns hold every required modality.

    >>> accepted_patterns(["image", "audio", "text"]), accepted_patterns(["image", "audio", "text"], ["text"])
    (7, 4)
    """
    needed = {*required}
    return (1 << (len(modalities) - len(needed))) - (not needed)


def sampled_patterns(
    modalities: Sequence[str],
    *,
    required: Iterable[str] = (),
    always: Iterable[Iterable[str]] = (),
    limit: int = 64,
    seed: int = 0,
) -> list[tuple[str, ...]]:
    """Return the patterns that hold every required modality, or a sample where these are many; the smallest first.

    A sample holds the smallest patterns, those that lack one modality, the one that lacks none, and those of `always`,
    even if these are more than `limit`; the rest is drawn, as many of each size where there are as many.

    Args:
        modalities: in the order of the presence columns.
        required: those that no row may lack.
        always: patterns to have in any sample; those of other modalities, or without a required one, are left out.
        limit: the most patterns; with 64, there are all of up to six modalities that may be missing.
        seed: decides the sample.
    """
    needed = {*required}
    if accepted_patterns(modalities, needed) <= limit:
        return [pattern for pattern in patterns(modalities) if needed <= {*pattern}]
    optional = [name for name in modalities if name not in needed]
    outer = (0, 1, len(optional) - 1, len(optional))
    chosen = {frozenset(subset) for size in outer for subset in combinations(optional, size)}
    chosen |= {frozenset(each) - needed for each in map(frozenset, always) if needed <= each <= {*modalities}}
    if not needed:
        chosen.discard(frozenset())
    chosen |= {*_drawn(optional, limit - len(chosen), np.random.default_rng(seed))}
    places = [sorted(map(modalities.index, needed | subset)) for subset in chosen]
    return [tuple(modalities[place] for place in row) for row in sorted(places, key=lambda row: (len(row), row))]


def _drawn(optional: Sequence[str], count: int, generator: np.random.Generator) -> Iterator[frozenset[str]]:
    """Yield subsets of every size from two to all but two, evenly over the sizes as far as there are so many."""
    sizes = sorted(range(2, len(optional) - 1), key=lambda size: (comb(len(optional), size), size))
    for position, size in enumerate(sizes):
        share = min(max(count, 0) // (len(sizes) - position), comb(len(optional), size))
        found: set[frozenset[str]] = set()
        while len(found) < share:
            found.add(frozenset(optional[place] for place in generator.choice(len(optional), size, replace=False)))
        count -= share
        yield from found


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
