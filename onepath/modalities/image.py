"""Images: JPEG, PNG, WebP, BMP and GIF bytes to uint8 pixels of a fixed size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from onepath.contract.dtypes import DType
from onepath.contract.tensors import Closed
from onepath.modalities.decoding import check_sides, check_size, corrupt_on_failure, require_module
from onepath.modalities.image_header import header_from_payload
from onepath.modalities.image_pixels import Fit, Resample, fitted, opaque, pixels_from_image, plain, upright
from onepath.modalities.image_plugins import open_image

Level = Annotated[int, Field(ge=0, le=255)]
Side = Annotated[int, Field(ge=1, le=8192)]


class ImageSettings(Closed):
    """What the model fixed.

    Attributes:
        height: rows of pixels.
        width: columns of pixels.
        channels: 3 for red, green, blue; 1 for luminance (ITU-R BT.601).
        fit: how another aspect ratio becomes this one: `stretch` it, `crop` the centre, or `pad` with the background.
        resample: the filter of the scaling.
        background: red, green, blue of what lies behind transparent pixels and around padded ones.
    """

    height: Side
    width: Side
    channels: Literal[1, 3] = 3
    fit: Fit = "stretch"
    resample: Resample = "bilinear"
    background: tuple[Level, Level, Level] = (255, 255, 255)


class ImageLimits(Closed):
    """What a payload may cost; sizes are read from its header, before a pixel is decoded.

    Attributes:
        max_bytes: the most encoded bytes.
        max_pixels: the most pixels; each takes up to 12 bytes of memory while it is decoded.
        max_side: the longest side, in pixels.
        min_side: the shortest side, in pixels.
    """

    max_bytes: int = Field(default=32 << 20, gt=0)
    max_pixels: int = Field(default=40_000_000, gt=0, le=89_000_000)  # beyond, Pillow warns on its own
    max_side: int = Field(default=32_768, gt=0, le=65_535)
    min_side: int = Field(default=1, gt=0)


class ImageProcessor:
    """Turns an encoded image into pixels: turned as its EXIF orientation says, opaque, scaled to the model's size.

    An animation gives its first frame. Sixteen-bit levels are scaled to eight bits. Colour profiles are not applied.
    """

    settings_type: ClassVar[type[ImageSettings]] = ImageSettings
    limits_type: ClassVar[type[ImageLimits]] = ImageLimits

    def __init__(self, settings: ImageSettings, limits: ImageLimits, assets: Path) -> None:
        """Prepare to decode; images need no files.

        Raises:
            MissingExtraError: Pillow is not installed.
        """
        del assets
        require_module("PIL.Image", "pillow", purpose="decoding images")
        self._settings = settings
        self._limits = limits

    @property
    def dtype(self) -> DType:
        """Always uint8."""
        return "uint8"

    @property
    def shape(self) -> tuple[int, ...]:
        """`(channels, height, width)`."""
        return (self._settings.channels, self._settings.height, self._settings.width)

    def decode(self, payload: bytes) -> NDArray[np.generic]:
        """Return the pixels of one row, uint8 `(channels, height, width)`, 0 to 255.

        Raises:
            PayloadError: the payload is empty, too large, of another format, corrupt or cut off, or its image has too
                many pixels, too long a side or too short a side.
        """
        check_size(payload, self._limits.max_bytes)
        header = header_from_payload(payload)
        if header.size is not None:
            self._check_sides(*header.size)
        with corrupt_on_failure(f"{header.format} image"), open_image(payload, header.format) as image:
            self._check_sides(*image.size)
            settings = self._settings
            flat = opaque(plain(upright(image)), settings.background).convert("L" if settings.channels == 1 else "RGB")
            size = (settings.width, settings.height)
            return pixels_from_image(
                fitted(flat, size, fit=settings.fit, resample=settings.resample, background=settings.background)
            )

    def _check_sides(self, width: int, height: int) -> None:
        limits = self._limits
        check_sides(width, height, max_pixels=limits.max_pixels, max_side=limits.max_side, min_side=limits.min_side)
