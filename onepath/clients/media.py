"""Pictures, sound, clips and point clouds in memory, as the PNG, WAV, MP4 and NPY bytes of a payload."""

from __future__ import annotations

import io
import wave
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onepath.contract.errors import MissingExtraError, PayloadError

if TYPE_CHECKING:
    from PIL.Image import Image

_PNG_MODES = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")
_MAX_CHANNELS = 64
_MAX_RATE_HZ = 10_000_000
_FULL_SCALE = 32768.0
_MAX_SIDE = 16_384
_FRAMES_PER_SECOND = (0.001, 1000.0)
_LOSSLESS = {"qp": "0", "preset": "veryfast"}


def png_from_array(pixels: NDArray[Any]) -> bytes:  # Any: the type is checked here
    """Return an array as PNG, which loses nothing.

    Args:
        pixels: uint8 `(height, width)`, `(height, width, 3)` or `(height, width, 4)`.

    Raises:
        PayloadError: the array has another type or shape, or no pixels.
        MissingExtraError: Pillow is not installed.
    """
    fits = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if pixels.dtype != np.uint8 or not fits or pixels.size == 0:
        raise PayloadError(
            f"an image array must be uint8 of shape (height, width), (height, width, 3) or (height, width, 4), "
            f"not {pixels.dtype} {pixels.shape}; to send several images, give a list of arrays"
        )
    return _png(_pillow().fromarray(np.ascontiguousarray(pixels)))


def png_from_image(image: Image) -> bytes:
    """Return a PIL image as PNG, upright as its EXIF orientation says, so that it equals the file it was opened from.

    Raises:
        PayloadError: the pixels are floats, which PNG cannot hold.
    """
    from PIL import ImageOps

    if image.mode == "F":
        raise PayloadError("an image of mode 'F' cannot be written as PNG; convert it to 'L' or 'RGB' first")
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _PNG_MODES:
        return _png(upright)
    return _png(upright.convert("I;16" if upright.mode == "I" else "RGB"))


def wav_from_samples(samples: NDArray[Any], sample_rate_hz: float) -> bytes:  # Any: the type is checked here
    """Return sound as a 16-bit WAV file.

    Args:
        samples: `(samples,)` or `(samples, channels)`; float in [-1, 1] or int16.
        sample_rate_hz: samples a second, a whole number.

    Raises:
        PayloadError: the array has another type or shape, no samples, or values that are not in [-1, 1]; or the rate
            is out of range or no whole number.
    """
    frames = samples[:, None] if samples.ndim == 1 else samples
    if frames.ndim != 2 or frames.size == 0 or frames.shape[1] > _MAX_CHANNELS:
        raise PayloadError(
            f"sound must be an array (samples,) or (samples, channels) with at most {_MAX_CHANNELS} channels, "
            f"not {samples.shape}"
        )
    if not 1 <= sample_rate_hz <= _MAX_RATE_HZ or sample_rate_hz != int(sample_rate_hz):  # also true of NaN
        raise PayloadError(
            f"sample_rate_hz is {sample_rate_hz}; it must be a whole number between 1 and {_MAX_RATE_HZ}"
        )
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(frames.shape[1])
        file.setsampwidth(2)
        file.setframerate(int(sample_rate_hz))
        file.writeframes(_int16_from_samples(frames).astype("<i2").tobytes())
    return buffer.getvalue()


def mp4_from_frames(frames: NDArray[Any], frames_per_second: float) -> bytes:  # Any: the type is checked here
    """Return a clip as MP4 (H.264 of red, green and blue), which loses nothing.

    Args:
        frames: uint8 `(frames, height, width)` or `(frames, height, width, 3)`.
        frames_per_second: how fast they follow each other.

    Raises:
        PayloadError: the array has another type or shape, or no pixels; the rate is out of range; or the installed
            FFmpeg has no encoder for it.
        MissingExtraError: PyAV is not installed.
    """
    fits = frames.ndim == 3 or (frames.ndim == 4 and frames.shape[3] == 3)
    if frames.dtype != np.uint8 or not fits or frames.size == 0 or max(frames.shape[1:3]) > _MAX_SIDE:
        raise PayloadError(
            f"frames must be uint8 of shape (frames, height, width) or (frames, height, width, 3) with sides of at "
            f"most {_MAX_SIDE}, not {frames.dtype} {frames.shape}"
        )
    slowest, fastest = _FRAMES_PER_SECOND
    if not slowest <= frames_per_second <= fastest:  # also true of NaN
        raise PayloadError(f"frames_per_second is {frames_per_second}; it must be between {slowest:g} and {fastest:g}")
    coloured = frames if frames.ndim == 4 else np.repeat(frames[..., np.newaxis], 3, axis=3)
    return _mp4(np.ascontiguousarray(coloured), Fraction(float(frames_per_second)).limit_denominator(1001))


def npy_from_points(points: NDArray[Any]) -> bytes:  # Any: the type is checked here
    """Return points as NPY, with the type and the columns that they have.

    Args:
        points: floats or integers `(points, 3)`, or with more columns.

    Raises:
        PayloadError: the array has another type or shape, or no points.
    """
    if points.dtype.kind not in "fiu" or points.dtype.itemsize > 8 or points.ndim != 2 or points.shape[1] < 3:
        raise PayloadError(
            f"points must be floats or integers of shape (points, 3), not {points.dtype} {points.shape}; "
            "to send several clouds, give a list of arrays"
        )
    if len(points) == 0:
        raise PayloadError("there are no points; give None for an absent cloud")
    buffer = io.BytesIO()
    np.save(buffer, points, allow_pickle=False)
    return buffer.getvalue()


def _int16_from_samples(samples: NDArray[Any]) -> NDArray[np.int16]:
    if samples.dtype == np.int16:
        return samples.astype(np.int16)
    if samples.dtype.kind != "f":
        raise PayloadError(f"samples must be float in [-1, 1] or int16, not {samples.dtype}")
    peak = float(np.abs(samples).max())
    if not peak <= 1.0:  # also true of NaN
        raise PayloadError(f"samples must lie in [-1, 1], but the largest magnitude is {peak:g}; scale or clip them")
    scaled = np.rint(samples.astype(np.float64) * _FULL_SCALE)
    clipped: NDArray[np.float64] = np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1)
    return clipped.astype(np.int16)


def _png(image: Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _mp4(frames: NDArray[np.uint8], rate: Fraction) -> bytes:
    av = _pyav()
    buffer = io.BytesIO()
    try:
        with av.open(buffer, "w", format="mp4") as container:
            stream = container.add_stream("libx264rgb", rate=rate, options=_LOSSLESS)
            stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "rgb24"
            stream.codec_context.thread_count = 1
            for pixels in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
    except (av.FFmpegError, ValueError) as error:  # ValueError: a codec that this FFmpeg was built without
        raise PayloadError(f"the frames cannot be encoded ({error}); give an encoded video or its path") from error
    return buffer.getvalue()


def _pyav() -> Any:  # Any: a module
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("av", "serve", purpose="a video given as an array") from error
    return av


def _pillow() -> Any:  # Any: a module
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("Pillow", "serve", purpose="an image given as an array") from error
    return Image
