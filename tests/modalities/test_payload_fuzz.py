"""Whatever the bytes, decoding returns the declared array or raises a PayloadError: never anything else."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onepath.contract.errors import PayloadError
from onepath.contract.modality import Processor
from tests.modalities.media_files import image_file, noise, processor, sound_file, tone
from tests.modalities.point_files import ORDERS, cloud, npy_file, ply_file, xyz_file
from tests.modalities.video_files import clip_file, moving

IMAGE = processor("image", {"height": 6, "width": 5, "fit": "crop"}, max_pixels=100_000)
AUDIO = processor("audio", {"sample_rate_hz": 8000, "seconds": 0.1}, max_seconds=2.0)
TEXT = processor("text", {"tokenizer": "characters", "length": 6, "form": "NFKC"})
TABULAR = processor("tabular", {"columns": [{"name": "a"}, {"name": "b", "mean": 3.0}], "missing_indicator": True})
VIDEO = processor("video", {"frames": 3, "height": 6, "width": 5}, max_pixels=100_000, max_seconds=9.0)
CLOUD = processor("point_cloud", {"points": 6, "groups": {"count": 2, "neighbours": 3}}, max_points=1000)

MAGIC = {
    "image": (
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"GIF89a",
        b"BM",
        b"RIFF\x20\0\0\0WEBPVP8 ",
        b"RIFF\x20\0\0\0WEBPVP8X",
    ),
    "video": (
        b"\0\0\0\x10ftypisom\0\0\0\0\0\0\1\x90moov\0\0\1\x88trak",
        b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff",
        b"GIF89a\4\0\4\0\0\0\0,\0\0\0\0\4\0\4\0\0\2",
    ),
    "cloud": (
        b"\x93NUMPY\1\0\x36\0{'descr': '<f4', 'fortran_order': False, 'shape': (",
        b"ply\nformat ascii 1.0\nelement vertex 2\n",
        b"ply\nformat binary_big_endian 1.0\nelement vertex 2\n",
        b"1 2 3\n",
    ),
    "audio": (b"RIFF\x20\0\0\0WAVEfmt ", b"fLaC\0\0\0\x22", b"OggS\0\x06", b"ID3\x03\0\0\0\0\0\0\xff\xfb\x90\x64"),
}
IMAGE_FILES = [image_file(noise(9, 8, 3), name) for name in ("PNG", "JPEG", "WEBP", "GIF", "BMP")]
AUDIO_FILES = [sound_file(tone(440, rate_hz=8000, seconds=0.1), 8000, name) for name in ("WAV", "FLAC", "OGG", "MP3")]
VIDEO_FILES = [
    clip_file(moving(4, 8, 10), codec, container)
    for codec, container in (("libx264", "mp4"), ("mpeg4", "mp4"), ("libvpx", "webm"), ("gif", "gif"))
]
CLOUD_FILES = [npy_file(cloud(9)), xyz_file(cloud(9)), *[ply_file(cloud(9), form, lists=True) for form in ORDERS]]
CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
JSON = st.recursive(CELLS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner))

fuzz = settings(max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.too_slow])


def check(decoder: Processor, payload: bytes) -> None:
    try:
        values = decoder.decode(payload)
    except PayloadError:
        return
    assert (values.shape, values.dtype) == (decoder.shape, np.dtype(decoder.dtype))


@st.composite
def damaged(draw, files):
    payload = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(0, 6))):
        payload[draw(st.integers(0, len(payload) - 1))] = draw(st.integers(0, 255))
    return bytes(payload[: draw(st.integers(1, len(payload)))] if draw(st.booleans()) else payload)


@st.composite
def behind(draw, starts):
    return draw(st.sampled_from(starts)) + draw(st.binary(max_size=400))


@fuzz
@given(st.binary(max_size=300))
@pytest.mark.parametrize(
    "decoder",
    [IMAGE, AUDIO, TEXT, TABULAR, VIDEO, CLOUD],
    ids=["image", "audio", "text", "tabular", "video", "cloud"],
)
def test_any_bytes_are_decoded_or_refused(decoder, payload):
    check(decoder, payload)


@fuzz
@given(behind(MAGIC["image"]))
def test_any_bytes_behind_the_start_of_an_image_are_decoded_or_refused(payload):
    check(IMAGE, payload)


@fuzz
@given(behind(MAGIC["audio"]))
def test_any_bytes_behind_the_start_of_audio_are_decoded_or_refused(payload):
    check(AUDIO, payload)


@fuzz
@given(behind(MAGIC["video"]))
def test_any_bytes_behind_the_start_of_a_video_are_decoded_or_refused(payload):
    check(VIDEO, payload)


@fuzz
@given(behind(MAGIC["cloud"]))
def test_any_bytes_behind_the_start_of_a_point_cloud_are_decoded_or_refused(payload):
    check(CLOUD, payload)


@fuzz
@given(damaged(VIDEO_FILES))
def test_a_damaged_video_is_decoded_or_refused(payload):
    check(VIDEO, payload)


@fuzz
@given(damaged(CLOUD_FILES))
def test_a_damaged_point_cloud_is_decoded_or_refused(payload):
    check(CLOUD, payload)


@fuzz
@given(damaged(IMAGE_FILES))
def test_a_damaged_image_is_decoded_or_refused(payload):
    check(IMAGE, payload)


@fuzz
@given(damaged(AUDIO_FILES))
def test_damaged_audio_is_decoded_or_refused(payload):
    check(AUDIO, payload)


@fuzz
@given(st.text())
def test_any_text_is_encoded_or_refused(text):
    check(TEXT, text.encode("utf-8", "surrogatepass"))


@fuzz
@given(JSON)
def test_any_json_is_a_row_or_refused(value):
    check(TABULAR, json.dumps(value).encode())


def test_the_check_itself_refuses_an_array_of_another_shape():
    class Wrong:
        dtype = "uint8"
        shape = (2,)

        def decode(self, payload: bytes) -> np.ndarray:
            return np.zeros(3, dtype=np.uint8)

    with pytest.raises(AssertionError):
        check(Wrong(), b"x")
