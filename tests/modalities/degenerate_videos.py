"""Videos that are not what they should be, with the code of their refusal."""

from __future__ import annotations

import struct

from tests.modalities.media_files import image_file, noise, sound_file, tone
from tests.modalities.video_bombs import compressed_webm, index_of, with_index, with_runs, with_tracks
from tests.modalities.video_files import (
    clip_file,
    index_first,
    levels,
    moving,
    sound_in_mp4,
    with_count,
)

SETTINGS = {"frames": 4, "height": 8, "width": 8, "stride": 1}
LIMITS = {
    "max_bytes": 100_000,
    "max_frames": 20,
    "max_seconds": 3.0,
    "max_pixels": 10_000,
    "max_side": 4000,
    "min_side": 2,
    "max_decoded_pixels": 20_000,
}
GOOD = clip_file(moving(6, 16, 16), "libx264")

_WEBM = clip_file(moving(6, 16, 16), "libvpx", "webm")
_LIVE = clip_file(moving(6, 16, 16), "libvpx", "webm", muxer={"live": "1"})
_STREAM = clip_file(moving(6, 16, 16), "libx264", muxer={"movflags": "frag_keyframe+empty_moov"})
_GIF = clip_file(moving(6, 16, 16), "gif", "gif")
_FTYP = struct.pack(">I", 20) + b"ftypisom" + bytes(4) + b"isom"
_EBML = b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm"


def _box(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def _patched(payload: bytes, after: bytes, offset: int, data: bytes) -> bytes:
    place = payload.find(after) + len(after) + offset
    return payload[:place] + data + payload[place + len(data) :]


def _edits(count: int) -> bytes:
    return struct.pack(">II", 0, count) + struct.pack(">IiHH", 700_000, 0, 1, 0) * count


def _first_frame_again_and_again(times: int) -> bytes:
    size_bytes = int.from_bytes(GOOD[GOOD.find(b"stsz") + 16 :][:4], "big")
    return with_index(GOOD, index_of(times, size_bytes=size_bytes, chunks=(times, 1)))


def _screen(width: int, height: int) -> bytes:
    return _GIF[:6] + struct.pack("<HH", width, height) + _GIF[10:]


_CHUNKS = index_of(1000, chunks=(9, 0x7FFFFFFF)) | {b"stts": struct.pack(">IIII", 0, 1, 1000, 1)}

CASES = {
    "no_bytes": ("empty", b""),
    "text": ("unsupported_format", b"seven"),
    "png": ("unsupported_format", image_file(noise(9, 9))),
    "webp": ("unsupported_format", image_file(noise(9, 9), "WEBP")),
    "wav": ("unsupported_format", sound_file(tone(440, rate_hz=8000))),
    "avi": ("unsupported_format", b"RIFF\x10\0\0\0AVI LIST" + bytes(50)),
    "matroska": ("unsupported_format", clip_file(levels(2), "libx264", "matroska")),
    "quicktime": ("unsupported_format", clip_file(levels(2), "libx264", "mov")),
    "heic": ("unsupported_format", b"\0\0\0\x18ftypheic" + bytes(12)),
    "avif": ("unsupported_format", b"\0\0\0\x18ftypavif" + bytes(12)),
    "transport_stream": ("unsupported_format", clip_file(levels(2), "libx264", "mpegts")),
    "flash": ("unsupported_format", b"FLV\x01\x05" + bytes(50)),
    "raw_h264": ("unsupported_format", clip_file(levels(2), "libx264", "h264")),
    "ogg": ("unsupported_format", b"OggS" + bytes(50)),
    "playlist": ("unsupported_format", b"#EXTM3U\n#EXT-X-VERSION:3\nfile:///etc/passwd\n"),
    "script": ("unsupported_format", b"ffconcat version 1.0\nfile /etc/passwd\n"),
    "session": ("unsupported_format", b"v=0\no=- 0 0 IN IP4 127.0.0.1\n"),
    "address": ("unsupported_format", b"http://127.0.0.1/clip.mp4"),
    "too_many_bytes": ("too_large", GOOD + bytes(100_000)),
    "mp4_magic_alone": ("truncated", b"\0\0\0\x18ftypisom"),
    "mp4_without_an_index": ("truncated", _FTYP),
    "mp4_of_an_empty_index": ("no_frames", _FTYP + _box(b"moov")),
    "mp4_of_a_box_of_one_byte": ("corrupt", _FTYP + struct.pack(">I", 2) + b"moov"),
    "mp4_random": ("truncated", _FTYP + noise(500).tobytes()),
    "mp4_of_a_random_index": ("no_frames", _FTYP + _box(b"moov", noise(500).tobytes())),
    "mp4_cut": ("truncated", GOOD[:-100]),
    "mp4_cut_in_its_samples": ("truncated", index_first(GOOD)[:-100]),
    "mp4_of_random_samples": ("corrupt", _patched(GOOD, b"mdat", 650, noise(300).tobytes())),
    "mp4_of_endless_samples": ("corrupt", with_count(GOOD, b"stsz", 8, 0xFFFFFFFF)),
    "mp4_of_50_million_samples_of_a_byte": ("corrupt", with_index(GOOD, index_of(50_000_000))),
    "mp4_of_tracks_of_2_million_samples": ("corrupt", with_tracks(GOOD, index_of(2_000_000), 4)),
    "mp4_of_chunks_of_2_billion_samples": ("corrupt", with_tracks(GOOD, _CHUNKS, 1, sound=True)),
    "mp4_of_2000_edits": ("corrupt", with_index(GOOD, index_of(7000) | {b"elst": _edits(2000)}, lost=(b"ctts",))),
    "mp4_of_runs_of_2_million_samples": ("corrupt", with_runs(4, 2_000_000)),
    "mp4_whose_samples_are_one": ("corrupt", _first_frame_again_and_again(15)),
    "mp4_of_a_run_of_50_million_samples": (
        "corrupt",
        with_count(with_count(_STREAM, b"trun", 0, 1), b"trun", 4, 50_000_000),
    ),
    "mp4_of_4_million_samples_of_a_byte": ("corrupt", with_count(with_count(GOOD, b"stsz", 4, 1), b"stsz", 8, 1 << 22)),
    "mp4_of_a_compressed_index": ("corrupt", _FTYP + _box(b"moov", _box(b"cmov", bytes(30)))),
    "mp4_of_many_boxes": ("no_frames", _FTYP + _box(b"free") * 10_000 + _box(b"moov")),
    "mp4_of_sound_alone": ("no_frames", sound_in_mp4()),
    "mp4_of_mjpeg": ("unsupported_codec", clip_file(levels(2), "mjpeg", "mp4", strict="unofficial")),
    "webm_magic_alone": ("unsupported_format", b"\x1a\x45\xdf\xa3"),
    "webm_header_alone": ("truncated", _EBML),
    "webm_random": ("corrupt", _EBML + b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" + noise(500).tobytes()),
    "webm_cut": ("truncated", _WEBM[:-100]),
    "webm_of_random_frames": ("corrupt", _patched(_WEBM, b"\x9d\x01\x2a", -3, noise(600).tobytes())),
    "webm_of_no_clusters": ("corrupt", _LIVE[: _LIVE.find(b"\x1f\x43\xb6\x75")]),
    "gif_magic_alone": ("truncated", b"GIF89a"),
    "gif_without_a_frame": ("no_frames", b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0, 0, 0) + b";"),
    "gif_random": ("corrupt", b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0, 0, 0) + b"x" + noise(500).tobytes()),
    "gif_cut": ("truncated", _GIF[:-100]),
    "gif_without_an_end": ("truncated", _GIF[:-1]),
    "gif_of_endless_extensions": (
        "truncated",
        b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0, 0, 0) + b"!\xfe\x01a\0" * 19_000,
    ),
    "webm_compressed_twice": ("corrupt", compressed_webm(15, 1_000_000)),
    "webm_whose_frames_are_larger_than_it_says": (
        "corrupt",
        clip_file(levels(1, 1024, 1024), "libvpx", "webm")
        .replace(b"\xb0\x82\x04\0", b"\xb0\x82\0\x10")
        .replace(b"\xba\x82\x04\0", b"\xba\x82\0\x10"),
    ),
    "gif_bomb": ("too_many_pixels", _screen(65535, 65535)),
    "gif_of_no_width": ("too_small", _screen(0, 16)),
    "over_max_frames": ("too_many_frames", clip_file(levels(21))),
    "over_max_frames_in_a_webm": ("too_many_frames", clip_file(levels(21), "libvpx", "webm")),
    "over_max_seconds": ("too_long", clip_file(levels(3), times=[0, 10, 301])),
    "years": ("too_long", clip_file(levels(3), times=[0, 10, 10_000_000])),
    "over_max_pixels": ("too_many_pixels", clip_file(levels(2, 101, 100))),
    "over_max_pixels_in_a_webm": ("too_many_pixels", clip_file(levels(2, 101, 100), "libvpx", "webm")),
    "over_max_pixels_by_far": ("too_many_pixels", clip_file(levels(1, 2048, 2048), "libx264")),
    "over_max_pixels_by_far_in_a_webm": ("too_many_pixels", clip_file(levels(1, 1024, 1024), "libvpx-vp9", "webm")),
    "over_max_pixels_by_far_where_no_container_says_it": ("corrupt", clip_file(levels(1, 1024, 1024), "mpeg4")),
    "over_max_side": ("side_too_long", clip_file(levels(1, 4002, 2), "libx264")),
    "under_min_side": ("too_small", clip_file(levels(1, 1, 16))),
    "over_max_decoded_pixels": ("too_much_to_decode", clip_file(levels(4, 99, 99))),
}
