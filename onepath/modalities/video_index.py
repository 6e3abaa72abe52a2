"""How long the index of an MP4 is that FFmpeg makes of what a file announces, before it reads the first sample."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from onepath.modalities.errors import CorruptError

_MOST_BOXES = 1 << 16
"""Boxes of one name; a file of more is made to keep a reader busy."""
_SAMPLES = {b"stsz": 8, b"stz2": 8, b"trun": 4}
"""Boxes that announce a number of samples, and how many bytes after their name it stands."""
_CHUNKS = {b"stco": 4, b"co64": 4}
_EDITS = {b"elst": 4}
_TRACK, _CHUNK_LENGTHS = b"trak", b"stsc"
_PACKED = 512
"""Samples of plain PCM that share an entry, at least."""


def entries_from_boxes(boxes: bytes) -> int:
    """Return how many entries of an index a box of the top level leads to, at most; each takes some 32 bytes.

    There is one for each sample, or for each piece of a chunk where sound is not compressed, and an edit list repeats
    those that it names. FFmpeg reads boxes of these names wherever they are nested, so that they are searched and not
    walked to.

    Raises:
        CorruptError: there are absurdly many boxes, or the index is compressed.
    """
    if b"cmov" in boxes:
        raise CorruptError("MP4 video", "its index is compressed")
    for name in (*_SAMPLES, *_CHUNKS, *_EDITS, _TRACK, _CHUNK_LENGTHS):
        if boxes.count(name) > _MOST_BOXES:
            raise CorruptError("MP4 video", f"it has more than {_MOST_BOXES:,} {name.decode()} boxes")
    return sum(_entries_of_track(track) for track in boxes.split(_TRACK))


def _entries_of_track(boxes: bytes) -> int:
    samples = sum(_numbers(boxes, _SAMPLES))
    pieces = sum(_numbers(boxes, _CHUNKS)) * (_longest_chunk(boxes) // _PACKED)
    return (samples + pieces) * max(1, max(_numbers(boxes, _EDITS), default=0) - 1)  # one edit may be a pause


def _numbers(boxes: bytes, places: dict[bytes, int]) -> Iterator[int]:
    for name, offset in places.items():
        for match in re.finditer(name, boxes):
            start = match.end() + offset
            yield int.from_bytes(boxes[start : start + 4], "big")


def _longest_chunk(boxes: bytes) -> int:
    """Return the most samples of a chunk that any box stsc names, which holds triples of numbers."""
    longest = 0
    for match in re.finditer(_CHUNK_LENGTHS, boxes):
        start = match.end() + 8
        announced = int.from_bytes(boxes[start - 4 : start], "big")
        triples = max(0, min(announced, (len(boxes) - start) // 12))
        lengths = np.frombuffer(boxes, ">u4", 3 * triples, start if triples else 0)[1::3]
        longest = max(longest, int(lengths.max(initial=0)))
    return longest
