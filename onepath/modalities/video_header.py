"""The container of a video, and whether it is there to its end, which FFmpeg does not say."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Literal

from onepath.modalities.errors import CorruptError, TruncatedError, UnsupportedFormatError
from onepath.modalities.media_errors import NoFramesError
from onepath.modalities.video_index import entries_from_boxes

Format = Literal["MP4", "WebM", "GIF"]
FORMATS: tuple[Format, ...] = ("MP4", "WebM", "GIF")

_MOST_ENTRIES = 6 << 20
"""Samples that an MP4 may announce, over all tracks: a little more than two minutes of plain PCM at 48 kHz have."""
_MOST_PARTS = 1 << 19
"""Boxes, elements or blocks that are walked through; a file of more is made to keep a reader busy."""
_OTHER_BRANDS = (b"qt  ", b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis", b"crx ")
"""Major brands of QuickTime and of still images, which share the box structure of MP4."""
_SEGMENT, _CLUSTER, _DOCUMENT_TYPE = 0x18538067, 0x1F43B675, b"\x42\x82"


def format_from_payload(payload: bytes) -> Format:
    """Return the container that the first bytes announce.

    Raises:
        UnsupportedFormatError: they announce none of those that are read: a playlist, QuickTime and Matroska other than
            WebM among them.
    """
    if payload[4:8] == b"ftyp" and payload[8:12] not in _OTHER_BRANDS:
        return "MP4"
    if payload[:4] == b"\x1a\x45\xdf\xa3" and _document_type(payload) == b"webm":
        return "WebM"
    if payload[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    raise UnsupportedFormatError("video", payload, FORMATS)


def size_from_payload(payload: bytes, found: Format) -> tuple[int, int] | None:
    """Return the width and height of a GIF, of which FFmpeg says nothing where they pass a limit; None for others.

    Raises:
        TruncatedError: it ends before it says them.
    """
    if found != "GIF":
        return None
    if len(payload) < 13:
        raise TruncatedError("GIF video", "its header is not whole")
    width, height = struct.unpack_from("<HH", payload, 6)
    return width, height


def check_whole(payload: bytes, found: Format) -> None:
    """Check that the container's parts fill the payload, and that none announces what would only cost memory.

    A file that was written as a stream does not know its own length: where it is cut between two of its parts, what is
    left is a whole shorter one.

    Raises:
        TruncatedError: a part reaches beyond the end of the payload, or the last one is missing.
        CorruptError: there are absurdly many parts or samples, or the index of an MP4 is compressed.
        NoFramesError: it is a GIF without a frame.
    """
    try:
        _WALKS[found](payload)
    except (IndexError, struct.error) as error:
        raise TruncatedError(f"{found} video", "its last part is not whole") from error


def _walk_mp4(payload: bytes) -> None:
    # ISO/IEC 14496-12, 4.2: a box is its size, its name and its content; size 1 is followed by a longer size, and a box
    # of size 0 goes on to the end of the file.
    position, entries, names = 0, 0, set()
    for _ in range(_MOST_PARTS):
        if position == len(payload):
            break
        size, name = struct.unpack_from(">I4s", payload, position)
        header = 16 if size == 1 else 8
        size = struct.unpack_from(">Q", payload, position + 8)[0] if size == 1 else size or len(payload) - position
        if size < header:
            raise CorruptError("MP4 video", "a box is shorter than its own header")
        if position + size > len(payload):
            raise TruncatedError("MP4 video", f"{position + size - len(payload):,} bytes are missing")
        if name != b"mdat":
            entries += entries_from_boxes(payload[position + header : position + size])
        if entries > _MOST_ENTRIES:
            raise CorruptError("MP4 video", f"its index announces {entries:,} samples")
        names.add(name)
        position += size
    else:
        raise _too_many("MP4", "boxes")
    if b"moov" not in names:
        raise TruncatedError("MP4 video", "it has no moov box")


def _walk_webm(payload: bytes) -> None:
    # RFC 8794: an element is its name, its size and its content; a segment or a cluster of a stream has no known size.
    position, names = 0, set()
    for _ in range(_MOST_PARTS):
        if position == len(payload):
            break
        name, start = _ebml_number(payload, position, keep_marker=True)
        size, start = _ebml_number(payload, start, keep_marker=False)
        names.add(name)
        if size is not None and start + size > len(payload):
            raise TruncatedError("WebM video", f"{start + size - len(payload):,} bytes are missing")
        enters = name == _SEGMENT or (name == _CLUSTER and size is None)
        if size is None and not enters:
            raise CorruptError("WebM video", "an element has no size")
        position = start if enters else start + (size or 0)
    else:
        raise _too_many("WebM", "elements")
    if _SEGMENT not in names:
        raise TruncatedError("WebM video", "it has no segment")


def _ebml_number(payload: bytes, position: int, *, keep_marker: bool) -> tuple[int | None, int]:
    """Return a number of variable length, None if all of its bits are set, and the position after it."""
    length = 9 - payload[position].bit_length()
    if length > (4 if keep_marker else 8):
        raise CorruptError("WebM video", "a number in it is too long")
    if position + length > len(payload):
        raise IndexError
    number = int.from_bytes(payload[position : position + length], "big")
    ones = (1 << 7 * length) - 1
    if keep_marker:
        return number, position + length
    return None if number & ones == ones else number & ones, position + length


def _document_type(payload: bytes) -> bytes:
    position = payload.find(_DOCUMENT_TYPE, 4, 64)
    if position < 0 or position + 3 > len(payload):
        return b""
    return payload[position + 3 : position + 3 + (payload[position + 2] & 0x7F)].rstrip(b"\0")


def _walk_gif(payload: bytes) -> None:
    # GIF89a, appendix B: a screen, then images and extensions, whose data lie in blocks of up to 255 bytes.
    position, frames, among_blocks = 13 + _palette_bytes(payload[10]), 0, False
    for _ in range(_MOST_PARTS):
        kind = payload[position]
        if among_blocks:
            position += 1 + kind
            among_blocks = kind > 0
        elif kind == 0x3B:
            break
        elif kind in (0x21, 0x2C):
            position += 2 if kind == 0x21 else 11 + _palette_bytes(payload[position + 9])
            frames += kind == 0x2C
            among_blocks = True
        else:
            raise CorruptError("GIF video", "what follows a frame is neither a frame nor the end")
    else:
        raise _too_many("GIF", "blocks")
    if not frames:
        raise NoFramesError("no frames")


def _palette_bytes(flags: int) -> int:
    return 3 << (1 + (flags & 7)) if flags & 0x80 else 0


def _too_many(found: Format, parts: str) -> CorruptError:
    return CorruptError(f"{found} video", f"it has more than {_MOST_PARTS:,} {parts}")


_WALKS: dict[Format, Callable[[bytes], None]] = {"MP4": _walk_mp4, "WebM": _walk_webm, "GIF": _walk_gif}
