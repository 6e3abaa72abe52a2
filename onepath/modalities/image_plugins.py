"""Opening an image with exactly the one decoder of Pillow that its format names."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from importlib import import_module
from typing import TYPE_CHECKING, cast

from onepath.modalities.image_header import Format

if TYPE_CHECKING:
    from PIL.Image import Image

_DECODERS: dict[Format, tuple[str, str]] = {
    "JPEG": ("JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PngImagePlugin", "PngImageFile"),
    "WebP": ("WebPImagePlugin", "WebPImageFile"),
    "BMP": ("BmpImagePlugin", "BmpImageFile"),
    "GIF": ("GifImagePlugin", "GifImageFile"),
}


def open_image(payload: bytes, image_format: Format) -> AbstractContextManager[Image]:
    """Return the image, with its header read and its pixels not yet decoded.

    `PIL.Image.open` would try other formats, and would warn by settings of the process, which are not ours to change.

    Raises:
        Exception: whatever Pillow raises for bytes that it cannot read.
    """
    module, name = _DECODERS[image_format]
    decoder = getattr(import_module(f"PIL.{module}"), name)
    return cast("AbstractContextManager[Image]", decoder(io.BytesIO(payload)))
