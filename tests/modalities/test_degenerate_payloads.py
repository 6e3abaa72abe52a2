"""Payloads that are not what they should be: each is refused with the code that says why, and none takes long."""

from __future__ import annotations

import struct
import time
import zlib

import numpy as np
import pytest

from onepath.contract.errors import PayloadError
from onepath.contract.status import Status, bytes_from_status, status_from_bytes
from tests.modalities import degenerate_clouds, degenerate_videos
from tests.modalities.media_files import (
    image_file,
    noise,
    png_chunk,
    png_file,
    processor,
    sound_file,
    tone,
    wav_file,
)

SETTINGS = {
    "image": {"height": 8, "width": 8},
    "audio": {"sample_rate_hz": 8000, "seconds": 0.5},
    "text": {"tokenizer": "characters", "length": 8},
    "tabular": {"columns": [{"name": "a"}, {"name": "b", "scale": 1e-30}]},
    "video": degenerate_videos.SETTINGS,
    "point_cloud": degenerate_clouds.SETTINGS,
}
LIMITS = {
    "image": {"max_bytes": 100_000, "max_pixels": 10_000, "max_side": 5000, "min_side": 1},
    "audio": {"max_bytes": 400_000, "max_seconds": 2.0, "max_channels": 4},
    "text": {"max_bytes": 1000, "max_characters": 100},
    "tabular": {"max_bytes": 100_000},
    "video": degenerate_videos.LIMITS,
    "point_cloud": degenerate_clouds.LIMITS,
}


def jpeg(**options):
    return image_file(noise(30, 40, 3), "JPEG", **options)


def png():
    return image_file(noise(30, 40, 3))


def gif_header(width, height, frame=(0, 0, 4, 4)):
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0)
    return screen + b"," + struct.pack("<HHHHB", *frame, 0) + b"\x02\x02\x4c\x01\x00;"


def webp_header(width, height):
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + sides


def bmp_header(width, height):
    return b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def jpeg_header(width, height):
    frame = struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\x00"
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", 2 + len(frame)) + frame + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"


def floats(*values):
    return wav_file(np.array(values, dtype="<f4").tobytes(), bits=32, tag=3)


def changed(payload, position, value):
    return payload[:position] + bytes([value]) + payload[position + 1 :]


ANYWHERE = {
    "one_nul": b"\0",
    "one_ff": b"\xff",
    "nuls": bytes(1000),
    "pdf": b"%PDF-1.7\n",
    "zip": b"PK\x03\x04" + bytes(26),
    "html": b"<!DOCTYPE html><p>404",
    "gzip": zlib.compress(b"x" * 100),
}
IMAGES = {
    **{name: ("unsupported_format", payload) for name, payload in ANYWHERE.items()},
    "no_bytes": ("empty", b""),
    "text": ("unsupported_format", b"seven"),
    "json": ("unsupported_format", b'{"image": 1}'),
    "svg": ("unsupported_format", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "tiff": ("unsupported_format", image_file(noise(9, 9), "TIFF")),
    "icon": ("unsupported_format", b"\0\0\1\0\1\0" + bytes(16)),
    "heic": ("unsupported_format", b"\0\0\0\x18ftypheic" + bytes(12)),
    "postscript": ("unsupported_format", b"%!PS-Adobe-3.0 EPSF-3.0\n"),
    "wav": ("unsupported_format", sound_file(np.zeros(10))),
    "data_url": ("unsupported_format", b"data:image/png;base64,iVBORw0KGgo="),
    "base64": ("unsupported_format", b"iVBORw0KGgoAAAANSUhEUg=="),
    "too_many_bytes": ("too_large", png() + bytes(100_000)),
    "png_magic_alone": ("corrupt", b"\x89PNG\r\n\x1a\n"),
    "jpeg_magic_alone": ("corrupt", b"\xff\xd8\xff"),
    "gif_magic_alone": ("corrupt", b"GIF89a"),
    "bmp_magic_alone": ("corrupt", b"BM"),
    "webp_magic_alone": ("corrupt", b"RIFF\x04\0\0\0WEBP"),
    "webp_of_audio": ("corrupt", b"RIFF\x14\0\0\0WEBPJUNK" + bytes(20)),
    "png_random": ("corrupt", b"\x89PNG\r\n\x1a\n" + noise(500).tobytes()),
    "jpeg_random": ("corrupt", b"\xff\xd8\xff\xe0" + noise(500).tobytes()),
    "bmp_random": ("corrupt", b"BM" + noise(500).tobytes()),
    "png_cut": ("corrupt", png()[:500]),
    "jpeg_cut": ("corrupt", jpeg()[:500]),
    "progressive_jpeg_cut": ("corrupt", jpeg(progressive=True)[:500]),
    "webp_cut": ("corrupt", image_file(noise(30, 40, 3), "WEBP")[:200]),
    "gif_cut": ("corrupt", image_file(noise(30, 40), "GIF")[:900]),
    "bmp_cut": ("corrupt", image_file(noise(30, 40, 3), "BMP")[:900]),
    "jpeg_without_a_frame": ("corrupt", b"\xff\xd8\xff\xd9"),
    "png_without_pixels": ("corrupt", png_file(8, 8, b"")),
    "png_with_too_few_pixels": ("corrupt", png_file(8, 8, bytes(20))),
    "png_with_a_broken_checksum": ("corrupt", changed(png(), 30, 0xAA)),
    "png_with_a_broken_stream": ("corrupt", changed(png(), 60, png()[60] ^ 0xFF)),
    "png_of_an_unknown_depth": ("corrupt", png_file(8, 8, bytes(72), depth=7)),
    "png_of_an_unknown_colour": ("corrupt", png_file(8, 8, bytes(72), colour=5)),
    "png_text_bomb": (
        "corrupt",
        png_file(8, 8, bytes(72), chunks=png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(50_000_000)))),
    ),
    "gif_without_a_frame": ("corrupt", b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0, 0, 0) + b";"),
    "gif_of_endless_extensions": ("corrupt", b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0, 0, 0) + b"!\xfe\x01a" * 20_000),
    "bmp_of_no_width": ("corrupt", bmp_header(0, 10)),
    "png_of_no_width": ("corrupt", png_file(0, 8, b"\0" * 8)),
    "over_max_pixels": ("too_many_pixels", image_file(np.zeros((101, 100)))),
    "over_max_side": ("side_too_long", png_file(5001, 1, bytes(5002))),
    "png_bomb": ("too_many_pixels", png_file(30_000, 30_000, bytes(1000))),
    "png_of_the_largest_size": ("too_many_pixels", png_file(2**31 - 1, 2**31 - 1, b"")),
    "gif_bomb": ("too_many_pixels", gif_header(65535, 65535)),
    "gif_whose_frame_is_a_bomb": ("too_many_pixels", gif_header(4, 4, frame=(0, 0, 65535, 65535))),
    "gif_whose_frame_is_far_away": ("too_many_pixels", gif_header(4, 4, frame=(65531, 65531, 4, 4))),
    "webp_bomb": ("too_many_pixels", webp_header(1 << 24, 1 << 24)),
    "bmp_bomb": ("too_many_pixels", bmp_header(40_000, 40_000)),
    "bmp_bomb_upside_down": ("too_many_pixels", bmp_header(40_000, -40_000)),
    "jpeg_bomb": ("too_many_pixels", jpeg_header(65_500, 65_500)),
}
SOUNDS = {
    **{name: ("unsupported_format", payload) for name, payload in ANYWHERE.items()},
    "no_bytes": ("empty", b""),
    "text": ("unsupported_format", b"seven"),
    "png": ("unsupported_format", png()),
    "webp": ("unsupported_format", image_file(noise(9, 9), "WEBP")),
    "aac": ("unsupported_format", b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(100)),
    "mp4": ("unsupported_format", b"\0\0\0\x20ftypM4A " + bytes(100)),
    "midi": ("unsupported_format", b"MThd\0\0\0\x06" + bytes(6)),
    "aiff": ("unsupported_format", sound_file(np.zeros(100), sound_format="AIFF")),
    "au": ("unsupported_format", sound_file(np.zeros(100), sound_format="AU")),
    "too_many_bytes": ("too_large", sound_file(np.zeros(200_001))),
    "wav_magic_alone": ("corrupt", b"RIFF\x04\0\0\0WAVE"),
    "flac_magic_alone": ("corrupt", b"fLaC"),
    "ogg_magic_alone": ("truncated", b"OggS"),
    "mp3_magic_alone": ("corrupt", b"\xff\xfb\x90\x64"),
    "id3_alone": ("corrupt", b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)),
    "wav_random": ("corrupt", b"RIFF\x04\0\0\0WAVE" + noise(500).tobytes()),
    "flac_random": ("corrupt", b"fLaC" + noise(500).tobytes()),
    "ogg_random": ("truncated", b"OggS\0\x06" + noise(500).tobytes()),
    "id3_before_random": ("corrupt", b"ID3\x04\0\0\0\0\0\0" + noise(60).tobytes()),
    "wav_cut": ("truncated", sound_file(tone(440, rate_hz=8000))[:1000]),
    "wav_cut_in_its_header": ("corrupt", sound_file(tone(440, rate_hz=8000))[:30]),
    "flac_cut": ("corrupt", sound_file(tone(440, rate_hz=8000), sound_format="FLAC")[:1000]),
    "ogg_cut": ("truncated", sound_file(tone(440, rate_hz=8000), sound_format="OGG")[:-500]),
    "opus_cut": ("truncated", sound_file(tone(440, rate_hz=8000), sound_format="OGG", subtype="OPUS")[:-500]),
    "mp3_cut": ("truncated", sound_file(tone(440, rate_hz=8000), sound_format="MP3")[:1500]),
    "wav_that_lies_of_its_length": ("truncated", wav_file(bytes(100), declared=100_000)),
    "wav_of_no_samples": ("no_samples", wav_file(b"")),
    "wav_of_half_a_sample": ("no_samples", wav_file(b"\0")),
    "wav_of_0_hz": ("corrupt", wav_file(bytes(100), rate_hz=0)),
    "wav_of_1_hz": ("sample_rate_out_of_range", wav_file(bytes(100), rate_hz=1)),
    "wav_of_10_mhz": ("sample_rate_out_of_range", wav_file(bytes(100), rate_hz=10_000_000)),
    "wav_of_4_ghz": ("corrupt", wav_file(bytes(100), rate_hz=0xFFFFFFFF)),
    "wav_of_no_channels": ("corrupt", wav_file(bytes(100), channels=0)),
    "wav_of_5_channels": ("too_many_channels", wav_file(bytes(100), channels=5)),
    "wav_of_1000_channels": ("too_many_channels", wav_file(bytes(20_000), channels=1000)),
    "wav_of_an_unknown_encoding": ("corrupt", wav_file(bytes(100), tag=0x1234)),
    "longer_than_the_limit": ("too_long", sound_file(np.zeros(16_001))),
    "flac_longer_than_the_limit": ("too_long", sound_file(np.zeros(8000 * 600), sound_format="FLAC")),
    "nan": ("not_finite", floats(0, np.nan, 0)),
    "infinity": ("not_finite", floats(0, np.inf)),
    "minus_infinity": ("not_finite", floats(-np.inf)),
    "nan_in_the_last_sample": ("not_finite", floats(*[0.0] * 15_999, np.nan)),
    "double_beyond_float32": ("not_finite", wav_file(np.array([1e300], "<f8").tobytes(), bits=64, tag=3)),
    "largest_float32": ("out_of_range", floats(np.finfo(np.float32).max)),
    "integers_stored_as_floats": ("out_of_range", floats(0, 12_000, -32_768)),
}
TEXTS = {
    "no_bytes": ("empty", b""),
    "a_space": ("empty", b" "),
    "white_space": ("empty", " \n\t\r\u00a0\u2003".encode()),
    "byte_order_mark_alone": ("empty", b"\xef\xbb\xbf"),
    "one_ff": ("not_utf8", b"\xff"),
    "latin_1": ("not_utf8", "fünf".encode("latin-1")),
    "utf_16": ("not_utf8", "sieben".encode("utf-16")),
    "utf_16_without_a_mark": ("nul_character", "sieben".encode("utf-16-le")),
    "cut_inside_a_character": ("not_utf8", "fünf€".encode()[:-1]),
    "lone_surrogate": ("not_utf8", b"\xed\xa0\x80"),
    "surrogate_pair": ("not_utf8", b"\xed\xa0\xbd\xed\xb8\x80"),
    "overlong": ("not_utf8", b"\xc0\xaf"),
    "beyond_unicode": ("not_utf8", b"\xf4\x90\x80\x80"),
    "one_nul": ("nul_character", b"\0"),
    "nul_inside": ("nul_character", b"sev\0en"),
    "png": ("not_utf8", png()[:200]),
    "too_many_bytes": ("too_large", b"a" * 1001),
    "too_many_characters": ("too_many_characters", b"a" * 101),
    "too_many_wide_characters": ("too_many_characters", "😀".encode() * 101),
}
ROWS = {
    "no_bytes": ("empty", b""),
    "one_ff": ("not_utf8", b"\xff"),
    "utf_16": ("not_utf8", "[1, 2]".encode("utf-16")),
    "white_space": ("not_json", b"  "),
    "words": ("not_json", b"seven"),
    "csv": ("not_json", b"1,2"),
    "one_brace": ("not_json", b"{"),
    "cut": ("not_json", b'{"a": 1, "b"'),
    "single_quotes": ("not_json", b"{'a': 1}"),
    "trailing_comma": ("not_json", b"[1, 2,]"),
    "two_rows": ("not_json", b"[1, 2]\n[3, 4]"),
    "hexadecimal": ("not_json", b"[0x10, 1]"),
    "leading_zero": ("not_json", b"[01, 1]"),
    "arrays_in_arrays": ("not_json", b"[" * 99_000),
    "objects_in_objects": ("not_json", b'{"a":' * 19_000),
    "nul": ("not_json", b"\0"),
    "null": ("wrong_type", b"null"),
    "number": ("wrong_type", b"3"),
    "boolean": ("wrong_type", b"true"),
    "string": ("wrong_type", b'"a"'),
    "boolean_cell": ("wrong_type", b"[true, 1]"),
    "string_cell": ("wrong_type", b'["1", 1]'),
    "empty_string_cell": ("wrong_type", b'{"a": ""}'),
    "array_cell": ("wrong_type", b"[[1], 1]"),
    "object_cell": ("wrong_type", b'{"a": {"b": 1}}'),
    "nan": ("not_finite", b"[NaN, 1]"),
    "infinity": ("not_finite", b'{"a": Infinity}'),
    "minus_infinity": ("not_finite", b'{"a": -Infinity}'),
    "beyond_float64": ("out_of_range", b"[1e400, 1]"),
    "beyond_float64_below": ("out_of_range", b"[-1e400, 1]"),
    "beyond_float32": ("out_of_range", b"[1e39, 1]"),
    "beyond_float32_once_scaled": ("out_of_range", b"[1, 1e10]"),
    "beyond_float64_once_scaled": ("out_of_range", b"[1, 1e300]"),
    "a_number_of_90000_digits": ("out_of_range", b"[" + b"9" * 90_000 + b", 1]"),
    "too_few_cells": ("wrong_columns", b"[1]"),
    "no_cells": ("wrong_columns", b"[]"),
    "too_many_cells": ("wrong_columns", b"[1, 2, 3]"),
    "unknown_column": ("wrong_columns", b'{"a": 1, "c": 2}'),
    "unknown_column_of_a_surrogate": ("wrong_columns", b'{"\\ud800": 2}'),
    "unknown_column_of_an_endless_name": ("wrong_columns", b'{"' + b"x" * 90_000 + b'": 2}'),
    "other_case": ("wrong_columns", b'{"A": 1}'),
    "duplicate_column": ("duplicate_column", b'{"a": 1, "a": 1}'),
    "many_duplicate_columns": ("duplicate_column", b"{" + b'"a":1,' * 9000 + b'"b":1}'),
    "too_many_bytes": ("too_large", b"[1, 2" + b" " * 100_000 + b"]"),
}
CASES = [
    pytest.param(kind, code, payload, id=f"{kind}-{name}")
    for kind, cases in (
        ("image", IMAGES),
        ("audio", SOUNDS),
        ("text", TEXTS),
        ("tabular", ROWS),
        ("video", {name: ("unsupported_format", payload) for name, payload in ANYWHERE.items()}),
        ("video", degenerate_videos.CASES),
        ("point_cloud", {name: ("unsupported_format", payload) for name, payload in ANYWHERE.items()}),
        ("point_cloud", degenerate_clouds.CASES),
    )
    for name, (code, payload) in cases.items()
]
GOOD = {
    "image": png(),
    "audio": sound_file(tone(440, rate_hz=8000)),
    "text": b"seven",
    "tabular": b"[1, null]",
    "video": degenerate_videos.GOOD,
    "point_cloud": degenerate_clouds.GOOD,
}


def decode(kind, payload):
    return processor(kind, SETTINGS[kind], **LIMITS[kind]).decode(payload)


@pytest.mark.parametrize(("kind", "code", "payload"), CASES)
def test_a_degenerate_payload_is_refused_with_its_code(kind, code, payload):
    start = time.perf_counter()
    with pytest.raises(PayloadError) as caught:
        decode(kind, payload)
    assert caught.value.code == code
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(("kind", "code", "payload"), CASES)
def test_the_refusal_is_a_short_sentence_that_can_be_sent(kind, code, payload):
    with pytest.raises(PayloadError) as caught:
        decode(kind, payload)
    status = Status.from_error(caught.value)
    assert status_from_bytes(bytes_from_status(status)) == status
    assert len(status.message) < 400
    assert " at 0x" not in status.message


@pytest.mark.parametrize("kind", GOOD)
def test_a_good_payload_is_accepted_under_the_same_limits(kind):
    assert np.any(decode(kind, GOOD[kind]))


def test_there_are_more_than_a_hundred_degenerate_payloads():
    assert len({(case.values[0], case.values[2]) for case in CASES}) > 150
