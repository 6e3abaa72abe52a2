"""Which bytes each kind's values become, and which values are refused."""

import io
import json
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from onepath.clients.payloads import is_one_value, payload_from_value
from onepath.contract.errors import PayloadError

KINDS = ("image", "audio", "video", "text", "tabular", "bytes", "point_cloud", "depth")
ORIENTATION = 0x0112


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [b"\x00\x01", bytearray(b"\x00\x01"), memoryview(b"\x00\x01")])
def test_encoded_bytes_pass_through_for_every_kind(kind: str, value: object) -> None:
    assert payload_from_value(value, kind) == b"\x00\x01"


@pytest.mark.parametrize("kind", KINDS)
def test_a_path_is_read_for_every_kind(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xff\xfe")
    assert payload_from_value(tmp_path / "file", kind) == b"\xff\xfe"


@pytest.mark.parametrize("kind", ["image", "audio", "video", "point_cloud"])
def test_a_string_is_a_path_for_media(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xff\xfe")
    assert payload_from_value(str(tmp_path / "file"), kind) == b"\xff\xfe"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_string_is_itself_for_text(text: str) -> None:
    assert payload_from_value(text, "text").decode() == text


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5))))
def test_a_grey_array_comes_back_from_its_png(pixels: np.ndarray) -> None:
    np.testing.assert_array_equal(_pixels(payload_from_value(pixels, "image")), pixels)


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([3, 4]))))
def test_a_colour_array_comes_back_from_its_png(pixels: np.ndarray) -> None:
    np.testing.assert_array_equal(_pixels(payload_from_value(pixels, "image")), pixels)


def test_an_array_that_is_not_contiguous_keeps_its_order() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    np.testing.assert_array_equal(_pixels(payload_from_value(pixels[::-1, ::2], "image")), pixels[::-1, ::2])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_pil_image_keeps_its_pixels(mode: str) -> None:
    image = Image.new(mode, (3, 2), 1)
    sent = Image.open(io.BytesIO(payload_from_value(image, "image")))
    assert sent.format == "PNG"
    np.testing.assert_array_equal(np.asarray(sent), np.asarray(image))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "I"])
def test_a_pil_image_of_a_mode_that_png_lacks_is_converted(mode: str) -> None:
    assert Image.open(io.BytesIO(payload_from_value(Image.new(mode, (3, 2)), "image"))).size == (3, 2)


def test_a_pil_image_is_sent_upright_like_the_file_that_it_was_opened_from() -> None:
    image = Image.fromarray(np.array([[0, 255]], dtype=np.uint8))
    exif = image.getexif()
    exif[ORIENTATION] = 6  # to be turned by a quarter
    file = io.BytesIO()
    image.save(file, format="PNG", exif=exif)
    sent = Image.open(io.BytesIO(payload_from_value(Image.open(file), "image")))
    assert (sent.size, sent.getexif().get(ORIENTATION)) == ((1, 2), None)


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((2, 2), dtype=np.float32),
        np.zeros((2, 2), dtype=bool),
        np.zeros((2, 2, 2), dtype=np.uint8),
        np.zeros((1, 2, 2, 3), dtype=np.uint8),
        np.zeros((0, 2), dtype=np.uint8),
        np.zeros(4, dtype=np.uint8),
    ],
)
def test_an_array_that_is_no_image_is_refused_with_the_shapes_that_are(value: np.ndarray) -> None:
    with pytest.raises(PayloadError, match=r"must be uint8 of shape \(height, width\)"):
        payload_from_value(value, "image")


def test_a_float_pil_image_is_refused_with_what_to_do() -> None:
    with pytest.raises(PayloadError, match="convert it to 'L' or 'RGB'"):
        payload_from_value(Image.new("F", (2, 2)), "image")


def test_sound_is_a_16_bit_wav_of_its_rate() -> None:
    payload = payload_from_value((np.array([0.0, 0.5, -1.0, 1.0]), 8000), "audio")
    assert payload[:4] + payload[8:12] == b"RIFFWAVE"
    assert payload[24:28] == (8000).to_bytes(4, "little")
    assert payload[-8:] == b"\x00\x00" + b"\x00\x40" + b"\x00\x80" + b"\xff\x7f"


@given(arrays.arrays(np.int16, st.tuples(st.integers(1, 20), st.integers(1, 3))), st.integers(1, 192_000))
def test_int16_samples_come_back_from_their_wav(samples: np.ndarray, rate: int) -> None:
    found, found_rate = _samples(payload_from_value((samples, rate), "audio"))
    np.testing.assert_array_equal(found, samples)
    assert found_rate == rate


@given(arrays.arrays(np.float32, st.integers(1, 20), elements=st.floats(-1, 1, width=32)))
def test_float_samples_come_back_within_half_a_step(samples: np.ndarray) -> None:
    found, _ = _samples(payload_from_value((samples, 16_000.0), "audio"))
    np.testing.assert_allclose(
        found[:, 0] / 32768, samples, atol=0.5 / 32768 + 0.5 / 32768 * (samples > 32767 / 32768).any()
    )


@pytest.mark.parametrize("peak", [1.5, -1.01, float("nan"), float("inf")])
def test_samples_beyond_one_are_refused(peak: float) -> None:
    with pytest.raises(PayloadError, match=r"must lie in \[-1, 1\]"):
        payload_from_value((np.array([0.0, peak]), 8000), "audio")


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(0), "an array"),
        (np.zeros((2, 16000)), "at most 64 channels"),
        (np.zeros((1, 2, 3)), "an array"),
        (np.zeros(4, dtype=np.int32), "float in"),
        (np.zeros(4, dtype=np.uint8), "float in"),
    ],
)
def test_an_array_that_is_no_sound_is_refused(samples: np.ndarray, reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        payload_from_value((samples, 8000), "audio")


@pytest.mark.parametrize("rate", [0, -8000, 10**9, 0.5, 44100.5, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(PayloadError, match="sample_rate_hz"):
        payload_from_value((np.zeros(4), rate), "audio")


@pytest.mark.parametrize("shape", [(3, 9, 7, 3), (3, 9, 7), (1, 1, 1, 3), (2, 8, 300)])
def test_frames_come_back_from_their_mp4(shape: tuple[int, ...]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found, rate = _frames(payload_from_value((frames, 12.5), "video"))
    np.testing.assert_array_equal(found, frames if frames.ndim == 4 else np.stack([frames] * 3, axis=3))
    assert rate == 12.5


def test_frames_that_are_not_contiguous_keep_their_order() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)[::-1, :, ::2, ::-1]
    np.testing.assert_array_equal(_frames(payload_from_value((frames, 10), "video"))[0], frames)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (np.zeros((2, 4, 4), dtype=np.float32), "must be uint8 of shape"),
        (np.zeros((4, 4), dtype=np.uint8), "must be uint8 of shape"),
        (np.zeros((2, 4, 4, 4), dtype=np.uint8), "must be uint8 of shape"),
        (np.zeros((0, 4, 4), dtype=np.uint8), "must be uint8 of shape"),
        (np.zeros((1, 1, 20_000), dtype=np.uint8), "at most 16384"),
    ],
)
def test_an_array_that_is_no_clip_is_refused(frames: np.ndarray, reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        payload_from_value((frames, 10), "video")


@pytest.mark.parametrize("rate", [0, -1, 1e-9, 1e9, float("nan")])
def test_a_frame_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(PayloadError, match="frames_per_second"):
        payload_from_value((np.zeros((2, 4, 4), dtype=np.uint8), rate), "video")


@given(
    arrays.arrays(
        st.sampled_from([np.float32, np.float64, np.int16]),
        st.tuples(st.integers(1, 9), st.integers(3, 6)),
        elements=st.integers(-1000, 1000),
    )
)
def test_points_come_back_from_their_npy(points: np.ndarray) -> None:
    found = np.load(io.BytesIO(payload_from_value(points, "point_cloud")), allow_pickle=False)
    np.testing.assert_array_equal(found, points)
    assert found.dtype == points.dtype


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (np.zeros((4, 2)), r"of shape \(points, 3\)"),
        (np.zeros(12), r"of shape \(points, 3\)"),
        (np.zeros((2, 4, 3)), r"of shape \(points, 3\)"),
        (np.zeros((4, 3), dtype=complex), r"of shape \(points, 3\)"),
        (np.array([[object()] * 3]), r"of shape \(points, 3\)"),
        (np.zeros((0, 3)), "no points"),
    ],
)
def test_an_array_that_is_no_point_cloud_is_refused(points: np.ndarray, reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        payload_from_value(points, "point_cloud")


def test_a_table_row_is_json() -> None:
    row = {"age": np.int64(4), "weight": np.float32(0.5), "name": "x", "height": None}
    assert json.loads(payload_from_value(row, "tabular")) == {"age": 4, "weight": 0.5, "name": "x", "height": None}


@pytest.mark.parametrize("row", [[1.5, None], (1.5, float("nan")), np.array([1.5, np.nan])])
def test_a_missing_cell_is_null(row: object) -> None:
    assert payload_from_value(row, "tabular") == b"[1.5, null]"


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        (3, "image", "a value of type int is not an image"),
        (object(), "audio", "of type object is not audio"),
        (np.zeros(4), "audio", "is not audio"),
        (3, "text", "is not text"),
        ("\ud800", "text", "UTF-8"),
        ("1,2", "tabular", "is not a row of a table"),
        ([float("inf")], "tabular", "JSON"),
        ([object()], "tabular", "JSON"),
        (3, "video", "is not video"),
        (np.zeros((2, 4, 4), dtype=np.uint8), "video", "is not video"),
        ([[1, 2, 3]], "point_cloud", "is not a point cloud"),
        ("map.exr", "depth", "give bytes or a pathlib.Path"),
    ],
)
def test_a_value_that_a_kind_does_not_know_is_refused(value: object, kind: str, reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        payload_from_value(value, kind)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(PayloadError, match=r"cannot read nowhere\.png: No such file or directory"):
        payload_from_value("nowhere.png", "image")


@pytest.mark.parametrize("path", ["a\0b", "."])
def test_a_path_that_cannot_be_a_file_is_refused(path: str) -> None:
    with pytest.raises(PayloadError, match="cannot read"):
        payload_from_value(path, "image")


@pytest.mark.parametrize(("value", "kind"), [("", "text"), (b"", "image"), (b"", "tabular")])
def test_an_empty_payload_is_refused_because_it_would_mean_absent(value: object, kind: str) -> None:
    with pytest.raises(PayloadError, match="give None for an absent one"):
        payload_from_value(value, kind)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("a.png", "image"),
        (b"png", "image"),
        (Path("a.png"), "image"),
        (np.zeros((2, 2)), "image"),
        (None, "image"),
        ((np.zeros(2), 8000), "audio"),
        ((np.zeros((2, 4, 4)), 25.0), "video"),
        (np.zeros((9, 3)), "point_cloud"),
        ({"a": 1}, "tabular"),
    ],
)
def test_what_is_one_value(value: object, kind: str) -> None:
    assert is_one_value(value, kind)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (["a.png"], "image"),
        ((None, None), "audio"),
        ([(np.zeros(2), 8000)], "audio"),
        ([(np.zeros((2, 4, 4)), 25.0)], "video"),
        ([np.zeros((9, 3))], "point_cloud"),
        ([{"a": 1}], "tabular"),
        ([], "text"),
    ],
)
def test_what_is_a_column_of_rows(value: object, kind: str) -> None:
    assert not is_one_value(value, kind)


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def _frames(payload: bytes) -> tuple[np.ndarray, float]:
    with av.open(io.BytesIO(payload)) as container:
        rate = float(container.streams.video[0].average_rate)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]), rate


def _samples(payload: bytes) -> tuple[np.ndarray, int]:
    with wave.open(io.BytesIO(payload)) as file:
        frames = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        return frames.reshape(-1, file.getnchannels()), file.getframerate()
