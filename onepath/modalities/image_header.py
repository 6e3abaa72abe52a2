"""The format of an image, and its size where a decoder would take memory for it before it could be asked."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from onepath.modalities.errors import CorruptError, UnsupportedFormatError

Format = Literal["JPEG", "PNG", "WebP", "BMP", "GIF"]
FORMATS: tuple[Format, ...] = ("JPEG", "PNG", "WebP", "BMP", "GIF")

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True)
class Header:
    """What the first bytes of an image say.

    Attributes:
        format: its format.
        size: width and height; None where opening the image is cheap and tells it.
    """

    format: Format
    size: Size | None


def header_from_payload(payload: bytes) -> Header:
    """Return the format of an image, and the size of a GIF or a WebP.

    Raises:
        UnsupportedFormatError: the bytes start like none of the formats.
        CorruptError: the header of a GIF or a WebP ends early or makes no sense.
    """
    found = format_from_payload(payload)
    if found is None:
        raise UnsupportedFormatError("image", payload, FORMATS)
    measure = _MEASURES.get(found)
    try:
        return Header(found, measure(payload) if measure else None)
    except (IndexError, struct.error) as error:
        raise CorruptError(f"{found} image", "its header ends early") from error


def format_from_payload(payload: bytes) -> Format | None:
    r"""Return the format that the first bytes announce, or None.

    >>> format_from_payload(b"GIF89a...")
    'GIF'
    """
    if payload[:4] == b"RIFF" and payload[8:12] == b"WEBP":
        return "WebP"
    return next((name for start, name in _STARTS.items() if payload.startswith(start)), None)


def _webp_size(payload: bytes) -> Size:
    # RFC 9649: the first chunk is extended, lossless or lossy, and each keeps the size in its own way.
    chunk = payload[12:16]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(payload[24:27], "little"), 1 + int.from_bytes(payload[27:30], "little")
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", payload, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", payload, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise CorruptError("WebP image", "its first chunk holds no image")


def _gif_size(payload: bytes) -> Size:
    # GIF89a: the first frame may reach beyond the screen, and the decoder then makes room for it.
    width, height, flags = struct.unpack_from("<HHB", payload, 6)
    position = 13 + _palette_bytes(flags)
    while payload[position] == 0x21:
        position = _after_sub_blocks(payload, position + 2)
    if payload[position] != 0x2C:
        raise CorruptError("GIF image", "it has no frame")
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", payload, position + 1)
    return max(width, left + frame_width), max(height, top + frame_height)


def _palette_bytes(flags: int) -> int:
    return 3 << (1 + (flags & 7)) if flags & 0x80 else 0


def _after_sub_blocks(payload: bytes, position: int) -> int:
    while payload[position]:
        position += 1 + payload[position]
    return position + 1


_STARTS: dict[bytes, Format] = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
}
_MEASURES: dict[Format, Callable[[bytes], Size]] = {"WebP": _webp_size, "GIF": _gif_size}
