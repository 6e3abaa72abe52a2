"""Small clips that would cost much memory or time: the boxes of an MP4 and the elements of a WebM, written anew."""

from __future__ import annotations

import copy
import struct
import zlib
from typing import Any

from tests.modalities.video_files import clip_file, moving, sound_in_mp4

_NESTED = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts")
Box = list[Any]
"""Name, and either its bytes or the boxes in it."""


def index_of(samples: int, *, size_bytes: int = 1, chunks: tuple[int, int] | None = None) -> dict[bytes, bytes]:
    """Return the boxes of samples of one size.

    Args:
        samples: how many.
        size_bytes: the bytes of each.
        chunks: how many there are, each beginning at the first sample, and the samples of each.
    """
    count, length = chunks or (1, samples)
    return {
        b"stsz": struct.pack(">III", 0, size_bytes, samples),
        b"stts": struct.pack(">IIII", 0, 1, samples, 100),
        b"stsc": struct.pack(">IIIII", 0, 1, 1, length, 1),
        b"stco": struct.pack(">II", 0, count) + struct.pack(">I", 48) * count,
    }


def with_index(mp4: bytes, boxes: dict[bytes, bytes], *, lost: tuple[bytes, ...] = (b"ctts", b"edts")) -> bytes:
    """Return an MP4 of one track with other contents of its boxes, and without some."""
    return _bytes(_changed(_boxes(mp4), boxes, lost))


def with_packets(mp4: bytes, packets: list[bytes]) -> bytes:
    """Return an MP4 of one track with other packets, as many as it has."""
    sizes = b"".join(struct.pack(">I", len(packet)) for packet in packets)
    boxes = {
        b"stsz": struct.pack(">III", 0, 0, len(packets)) + sizes,
        b"stsc": struct.pack(">IIIII", 0, 1, 1, len(packets), 1),
        b"stco": struct.pack(">III", 0, 1, mp4.find(b"mdat") + 4),
        b"mdat": b"".join(packets),
    }
    return with_index(mp4, boxes, lost=())


def with_tracks(mp4: bytes, boxes: dict[bytes, bytes], tracks: int, *, sound: bool = False) -> bytes:
    """Return an MP4 with more tracks of pictures, or of sound, whose boxes have other contents."""
    every = _boxes(mp4)
    (source,) = [box for box in _named(_boxes(sound_in_mp4()) if sound else every, b"moov") if box[0] == b"trak"]
    for number in range(tracks):
        track = _changed([copy.deepcopy(source)], boxes, (b"ctts", b"edts"))[0]
        head = _named(track[1], b"tkhd")
        _changed([track], {b"tkhd": head[:12] + struct.pack(">I", number + 2) + head[16:]}, ())
        _named(every, b"moov").append(track)
    return _bytes(every)


def with_runs(runs: int, samples: int) -> bytes:
    """Return an MP4 that was written as a stream, whose fragments announce samples without saying anything of them."""
    stream = clip_file(moving(6, 16, 16), "libx264", muxer={"movflags": "frag_keyframe+empty_moov"})
    track = _box(b"tfhd", struct.pack(">IIIII", 0x020038, 1, 100, 1, 0)) + _box(b"trun", struct.pack(">II", 0, samples))
    fragment = _box(b"moof", _box(b"mfhd", struct.pack(">II", 0, 1)) + _box(b"traf", track)) + _box(b"mdat", bytes(4))
    return stream[: stream.find(b"moof") - 4] + fragment * runs


def compressed_webm(frames: int, frame_bytes: int) -> bytes:
    """Return a WebM whose blocks are compressed once more by zlib, as Matroska allows."""
    zeros = zlib.compress(bytes(frame_bytes), 9)
    compression = _element(b"\x50\x34", _element(b"\x42\x54", b"\0"))
    encoding = _element(b"\x62\x40", b"\x50\x31\x81\0\x50\x32\x81\1\x50\x33\x81\0" + compression)
    video = _element(b"\xe0", b"\xb0\x81\x10\xba\x81\x10")
    track = b"\xd7\x81\1\x73\xc5\x81\1\x83\x81\1\x86\x85V_VP8" + video + _element(b"\x6d\x80", encoding)
    blocks = [_element(b"\xa3", b"\x81" + struct.pack(">h", index) + b"\x80" + zeros) for index in range(frames)]
    cluster = _element(b"\x1f\x43\xb6\x75", b"\xe7\x81\0" + b"".join(blocks))
    segment = _element(b"\x16\x54\xae\x6b", _element(b"\xae", track)) + cluster
    return _element(b"\x1a\x45\xdf\xa3", b"\x42\x82\x84webm") + _element(b"\x18\x53\x80\x67", segment)


def _boxes(content: bytes) -> list[Box]:
    found, position = [], 0
    while position < len(content):
        size, name = struct.unpack_from(">I4s", content, position)
        inner = content[position + 8 : position + size]
        found.append([name, _boxes(inner) if name in _NESTED else inner])
        position += size
    return found


def _changed(boxes: list[Box], contents: dict[bytes, bytes], lost: tuple[bytes, ...]) -> list[Box]:
    boxes[:] = [box for box in boxes if box[0] not in lost]
    for box in boxes:
        if isinstance(box[1], list):
            _changed(box[1], contents, lost)
        else:
            box[1] = contents.get(box[0], box[1])
    return boxes


def _named(boxes: list[Box], name: bytes) -> Any:
    return next(box[1] for box in boxes if box[0] == name)


def _bytes(boxes: list[Box]) -> bytes:
    return b"".join(_box(name, _bytes(inner) if isinstance(inner, list) else inner) for name, inner in boxes)


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def _element(name: bytes, content: bytes) -> bytes:
    size = bytes([0x80 | len(content)]) if len(content) < 100 else (1 << 56 | len(content)).to_bytes(8, "big")
    return name + size + content
