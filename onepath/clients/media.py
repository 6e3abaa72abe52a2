"""Pictures and sound in memory, as the PNG and WAV bytes of a payload."""

from __future__ import annotations

import io
import wave
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


def wav_from_samples(samples: NDArray[Any], sample_rate_hz: int) -> bytes:  # Any: the type is checked here
    """Return sound as a 16-bit WAV file.

    Args:
        samples: `(samples,)` or `(samples, channels)`; float in [-1, 1] or int16.
        sample_rate_hz: samples a second.

    Raises:
        PayloadError: the array has another type or shape, no samples, or values that are not in [-1, 1]; or the rate
            is out of range.
    """
    frames = samples[:, None] if samples.ndim == 1 else samples
    if frames.ndim != 2 or frames.size == 0 or frames.shape[1] > _MAX_CHANNELS:
        raise PayloadError(
            f"sound must be an array (samples,) or (samples, channels) with at most {_MAX_CHANNELS} channels, "
            f"not {samples.shape}"
        )
    if not 1 <= sample_rate_hz <= _MAX_RATE_HZ:
        raise PayloadError(f"sample_rate_hz is {sample_rate_hz}; it must be between 1 and {_MAX_RATE_HZ}")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(frames.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate_hz)
        file.writeframes(_int16_from_samples(frames).astype("<i2").tobytes())
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


def _pillow() -> Any:  # Any: a module
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("Pillow", "serve", purpose="an image given as an array") from error
    return Image
