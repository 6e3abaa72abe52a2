"""Video: MP4, WebM and GIF bytes to uint8 pixels of a fixed number of frames of a fixed size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from onepath.contract.dtypes import DType
from onepath.contract.tensors import Closed
from onepath.modalities.decoding import check_size, corrupt_on_failure, require_module
from onepath.modalities.image_pixels import Fit, Resample, fitted, opaque, pixels_from_image
from onepath.modalities.video_header import format_from_payload
from onepath.modalities.video_sampling import Sampling, Short, chosen_frames
from onepath.modalities.video_stream import VideoLimits, images_from_payload

if TYPE_CHECKING:
    from PIL.Image import Image

Level = Annotated[int, Field(ge=0, le=255)]
Side = Annotated[int, Field(ge=1, le=4096)]


class VideoSettings(Closed):
    """What the model fixed.

    Attributes:
        frames: frames of a row.
        height: rows of pixels.
        width: columns of pixels.
        channels: 3 for red, green, blue; 1 for luminance (ITU-R BT.601).
        sampling: `centre` takes a window of `frames * stride` source frames in the middle of the clip, `uniform` the
            whole clip; see `onepath.modalities.video_sampling`. Source frames are counted and not timed.
        stride: source frames for each frame of a row, with `centre`.
        short: how a clip that is shorter than the window fills it: `repeat` its last frame, or `stretch` it.
        fit: how another aspect ratio becomes this one: `stretch` it, `crop` the centre, or `pad` with the background.
        resample: the filter of the scaling.
        background: red, green, blue of what lies behind transparent pixels and around padded ones.
    """

    frames: int = Field(ge=1, le=512)
    height: Side
    width: Side
    channels: Literal[1, 3] = 3
    sampling: Sampling = "centre"
    stride: int = Field(default=4, ge=1, le=1024)
    short: Short = "repeat"
    fit: Fit = "crop"
    resample: Resample = "bilinear"
    background: tuple[Level, Level, Level] = (255, 255, 255)


class VideoProcessor:
    """Turns an encoded video into the pixels of its chosen frames: upright, opaque, scaled to the model's size.

    Sound is not read, nor is the transparency of a WebM.
    """

    settings_type: ClassVar[type[VideoSettings]] = VideoSettings
    limits_type: ClassVar[type[VideoLimits]] = VideoLimits

    def __init__(self, settings: VideoSettings, limits: VideoLimits, assets: Path) -> None:
        """Prepare to decode; video needs no files.

        Raises:
            MissingExtraError: PyAV or Pillow is not installed.
        """
        del assets
        for module, package in (("av", "av"), ("PIL.Image", "pillow")):
            require_module(module, package, purpose="decoding video")
        self._settings = settings
        self._limits = limits

    @property
    def dtype(self) -> DType:
        """Always uint8."""
        return "uint8"

    @property
    def shape(self) -> tuple[int, ...]:
        """`(channels, frames, height, width)`, as a convolution over tubelets takes it."""
        settings = self._settings
        return (settings.channels, settings.frames, settings.height, settings.width)

    def decode(self, payload: bytes) -> NDArray[np.generic]:
        """Return the pixels of one row, uint8 `(channels, frames, height, width)`, 0 to 255.

        Raises:
            PayloadError: the payload is empty, too large, of another format or codec, corrupt or cut off, or its video
                has no frame, too many, lasts too long, is too large or too small, or takes too much decoding.
        """
        check_size(payload, self._limits.max_bytes)
        found = format_from_payload(payload)
        row = np.empty(self.shape, dtype=np.uint8)
        with corrupt_on_failure(f"{found} video"):
            for places, image in images_from_payload(payload, found, self._limits, self._chosen):
                row[:, places] = self._pixels(image)[:, np.newaxis]
        return row

    def _chosen(self, available: int) -> list[int]:
        settings = self._settings
        return chosen_frames(
            available, settings.frames, sampling=settings.sampling, stride=settings.stride, short=settings.short
        )

    def _pixels(self, image: Image) -> NDArray[np.uint8]:
        settings = self._settings
        flat = opaque(image, settings.background).convert("L" if settings.channels == 1 else "RGB")
        size = (settings.width, settings.height)
        return pixels_from_image(
            fitted(flat, size, fit=settings.fit, resample=settings.resample, background=settings.background)
        )
