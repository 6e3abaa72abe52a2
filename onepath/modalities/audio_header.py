"""The format of audio, and whether its container is there to the end."""

from __future__ import annotations

import struct
from typing import Literal

from onepath.modalities.errors import CorruptError, TruncatedError, UnsupportedFormatError
from onepath.modalities.media_errors import NoSamplesError

Format = Literal["WAV", "FLAC", "OGG", "MP3"]
FORMATS: tuple[Format, ...] = ("WAV", "FLAC", "OGG", "MP3")

_STREAMED_BYTES = 0x7FFFF000
"""From here on, a WAV's data size is a placeholder of a writer that did not know the length."""
_OGG_LAST_PAGE = 0x04
_MPEG_INDEX = (b"Xing", b"Info", b"VBRI")
_TAGS = (b"TAG", b"APETAGEX", b"LYRICS")
_UNREAD_BYTES = 4096
"""What may lie behind the last frame of an MP3 without being audio."""


def format_from_payload(payload: bytes) -> Format:
    """Return the format that the first bytes announce.

    Raises:
        UnsupportedFormatError: they announce none of the formats.
    """
    if payload[:4] == b"RIFF" and payload[8:12] == b"WAVE":
        return "WAV"
    if payload[:4] == b"fLaC":
        return "FLAC"
    if payload[:4] == b"OggS":
        return "OGG"
    if payload[:3] == b"ID3" or _is_mpeg_frame(payload):
        return "MP3"
    raise UnsupportedFormatError("audio", payload, FORMATS)


def check_whole(payload: bytes, found: Format) -> None:
    """Check that a WAV or an OGG is there to its end, which its decoder does not; the other decoders do.

    Raises:
        TruncatedError: the WAV's data chunk is longer than the payload, or the last OGG page is not marked as such.
    """
    if found == "WAV":
        _check_wav(payload)
    if found == "OGG":
        _check_ogg(payload)


def check_length(payload: bytes, *, decoded: int, announced: int, position: int) -> None:
    """Check that as many samples were decoded as the header announced, and that the decoder read to the end.

    An MP3 announces its length in the index of its first frame. One without an index has an estimated length, which for
    a variable bit rate can be too long, which does no harm, or too short: the decoder then leaves the rest unread.

    Args:
        payload: the whole file.
        decoded: samples that were decoded.
        announced: samples that the header announced.
        position: bytes that the decoder read.

    Raises:
        NoSamplesError: there are none.
        TruncatedError: there are fewer than announced.
        CorruptError: the decoder left a part unread.
    """
    found = format_from_payload(payload)
    estimated = found == "MP3" and not any(index in payload for index in _MPEG_INDEX)
    if not decoded:
        raise NoSamplesError
    if decoded < announced and not estimated:
        raise TruncatedError(f"{found} audio", f"{decoded} of {announced} samples are there")
    rest = payload[position:]
    if estimated and len(rest) > _UNREAD_BYTES and not rest.startswith(_TAGS):
        raise CorruptError("MP3 audio", "it has a variable bit rate and no index, so that its length is unknown")


def _is_mpeg_frame(payload: bytes) -> bool:
    # ISO/IEC 11172-3: eleven sync bits, a version that is not reserved, and a layer that is not reserved.
    return len(payload) > 3 and payload[0] == 0xFF and payload[1] >= 0xE0 and payload[1] & 0x06 != 0


def _check_wav(payload: bytes) -> None:
    position = 12
    while position + 8 <= len(payload):
        name, size = struct.unpack_from("<4sI", payload, position)
        position += 8
        if name == b"data":
            missing = position + size - len(payload)
            if missing > 0 and size < _STREAMED_BYTES:
                raise TruncatedError("WAV audio", f"{missing:,} bytes of samples are missing")
            return
        position += size + size % 2


def _check_ogg(payload: bytes) -> None:
    # RFC 3533: a page is 27 bytes with flags at 5 and the number of segments at 26, their lengths, and the segments.
    page = payload[payload.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        raise TruncatedError("OGG audio", "its last page is not whole")
    if not page[5] & _OGG_LAST_PAGE:
        raise TruncatedError("OGG audio", "its last page is missing")
