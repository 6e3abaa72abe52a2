"""What a packet of compressed pictures holds besides a frame that is to be seen."""

from __future__ import annotations

from onepath.modalities.errors import CorruptError

_VP8_SHOWN = 0x10
_AV1_FRAMES = (3, 6)
"""Types of the units that begin a frame: its header alone, or with its tiles."""
_MOST_FRAMES = 32
_MOST_UNITS = 1024
"""Frames and units of one packet of AV1; encoders write a few of either."""


def is_hidden(packet: bytes | memoryview, codec: str) -> bool:
    """Return whether nobody is to see the frame of a packet, which VP8 says of frames that others refer to."""
    return codec == "vp8" and not packet[0] & _VP8_SHOWN


def frames_in_packet(packet: bytes | memoryview, codec: str) -> int:
    """Return how many frames have to be decoded for a packet, at least one: in AV1, hidden frames come with a seen one.

    A packet of VP9 holds at most eight, and those of the other codecs one; they are counted as one.

    Raises:
        CorruptError: there are absurdly many.
    """
    if codec != "av1":
        return 1
    # AV1 Bitstream & Decoding Process Specification, 5.3: a header of one byte or two, a length and that many bytes.
    position, frames = 0, 0
    for _ in range(_MOST_UNITS):
        if position >= len(packet):
            break
        header = packet[position]
        frames += header >> 3 & 15 in _AV1_FRAMES
        has_extension, has_length = header >> 2 & 1, header >> 1 & 1
        length, start = _av1_length(packet, position + 1 + has_extension) if has_length else (len(packet), position)
        position = start + length
    if position < len(packet) or frames > _MOST_FRAMES:
        raise CorruptError("AV1 video", f"a packet of it has more than {_MOST_FRAMES} frames or {_MOST_UNITS} units")
    return max(1, frames)


def _av1_length(packet: bytes | memoryview, position: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, the lowest first, and the position after it."""
    number = 0
    for place, byte in enumerate(packet[position : position + 8]):
        number |= (byte & 0x7F) << 7 * place
        if not byte & 0x80:
            return number, position + place + 1
    raise CorruptError("AV1 video", "a length in it has no end")
