"""From a decoded image to the model's pixels: upright, eight bits, opaque, fitted."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

Fit = Literal["stretch", "crop", "pad"]
Resample = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Colour = tuple[int, int, int]

_ORIENTATION = 0x0112
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_EIGHT_BITS = ((np.arange(65536) * 255 + 32767) // 65535).astype(np.uint8)
_UNREADABLE = (Warning, OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, struct.error)


def upright(image: Image) -> Image:
    """Return the decoded image as its EXIF orientation (CIPA DC-008, tag 274) says that it is to be seen."""
    from PIL.Image import Transpose

    image.load()
    turn = _TURNS.get(_orientation(image))
    return image.transpose(Transpose[turn]) if turn else image


def plain(image: Image) -> Image:
    """Return an image of eight bits per channel; sixteen-bit grey is scaled by 255/65535 and rounded.

    Sixteen-bit colour arrives here as the upper eight bits, which differ from that by less than one level.
    """
    import PIL.Image

    if not image.mode.startswith("I"):
        return image
    deep = np.asarray(image).clip(0, 65535).astype(np.uint16)
    grey = PIL.Image.fromarray(_EIGHT_BITS[deep])
    if isinstance(clear := image.info.get("transparency"), int):
        grey.putalpha(PIL.Image.fromarray(np.where(deep == clear, np.uint8(0), np.uint8(255))))
    return grey


def opaque(image: Image, background: Colour) -> Image:
    """Return the image over a background: alpha, and the transparent colour of a palette or a PNG, let it through."""
    import PIL.Image

    if not image.has_transparency_data:
        return image
    behind = PIL.Image.new("RGBA", image.size, (*background, 255))
    return PIL.Image.alpha_composite(behind, image.convert("RGBA")).convert("RGB")


def fitted(image: Image, size: tuple[int, int], *, fit: Fit, resample: Resample, background: Colour) -> Image:
    """Return the image, of mode L or RGB, scaled to `(width, height)`."""
    import PIL.Image

    method = PIL.Image.Resampling[resample.upper()]
    if fit == "stretch":
        return image.resize(size, method)
    if fit == "crop":
        return image.resize(size, method, box=_centre_box(image.size, size))
    inner = _inner_size(image.size, size)
    canvas = PIL.Image.new("RGB", size, background).convert(image.mode)
    canvas.paste(image.resize(inner, method), ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    return canvas


def pixels_from_image(image: Image) -> NDArray[np.uint8]:
    """Return uint8 `(channels, height, width)` of an image of mode L or RGB."""
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def _orientation(image: Image) -> int:
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except _UNREADABLE:  # Metadata that cannot be read says nothing of the pixels: show them as they are.
        return 1
    return found if isinstance(found, int) else 1


def _centre_box(image: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    # The largest centred part with the aspect ratio of `size`; scaling just that never makes a larger image.
    scale = min(image[0] / size[0], image[1] / size[1])
    width, height = min(size[0] * scale, image[0]), min(size[1] * scale, image[1])
    left, top = (image[0] - width) / 2, (image[1] - height) / 2
    return left, top, min(left + width, image[0]), min(top + height, image[1])


def _inner_size(image: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    scale = min(size[0] / image[0], size[1] / image[1])
    return max(1, round(image[0] * scale)), max(1, round(image[1] * scale))
