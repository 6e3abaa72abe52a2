"""The ways in which pictures, sound and video can fail, one class and one code each."""

from __future__ import annotations

from collections.abc import Sequence

from onepath.contract.errors import PayloadError
from onepath.modalities.errors import shown


class TooManyPixelsError(PayloadError):
    """An image, or a frame of a video, with more pixels than the limit."""

    code = "too_many_pixels"

    def __init__(self, width: int, height: int, limit: int) -> None:
        super().__init__(
            f"the picture has {width} x {height} = {width * height:,} pixels and limits.max_pixels is {limit:,}; "
            "scale it down before sending",
            width=width,
            height=height,
            limit=limit,
        )


class SideTooLongError(PayloadError):
    """An image, or a frame of a video, one of whose sides is longer than the limit."""

    code = "side_too_long"

    def __init__(self, width: int, height: int, limit: int) -> None:
        super().__init__(
            f"the picture is {width} x {height} pixels and limits.max_side is {limit}; scale it down before sending",
            width=width,
            height=height,
            limit=limit,
        )


class TooSmallError(PayloadError):
    """An image, or a frame of a video, one of whose sides is shorter than the limit."""

    code = "too_small"

    def __init__(self, width: int, height: int, limit: int) -> None:
        super().__init__(
            f"the picture is {width} x {height} pixels and limits.min_side is {limit}; send a larger one",
            width=width,
            height=height,
            limit=limit,
        )


class NoSamplesError(PayloadError):
    """Audio that is well formed and lasts zero seconds."""

    code = "no_samples"

    def __init__(self) -> None:
        super().__init__("the audio holds no samples; send a recording, or an empty element where audio is absent")


class TooLongError(PayloadError):
    """Audio or video that lasts longer than the limit."""

    code = "too_long"

    def __init__(self, seconds: float, limit: float) -> None:
        super().__init__(
            f"the recording lasts {seconds:.6g} s or more and limits.max_seconds is {limit:g}; cut it before sending",
            seconds=seconds,
            limit=limit,
        )


class SampleRateError(PayloadError):
    """Audio whose sample rate is outside the limits."""

    code = "sample_rate_out_of_range"

    def __init__(self, rate_hz: int, lowest: int, highest: int) -> None:
        super().__init__(
            f"the audio says {rate_hz} samples per second and the limits are {lowest} to {highest}; resample it",
            rate_hz=rate_hz,
            lowest=lowest,
            highest=highest,
        )


class TooManyChannelsError(PayloadError):
    """Audio with more channels than the limit."""

    code = "too_many_channels"

    def __init__(self, channels: int, limit: int) -> None:
        super().__init__(
            f"the audio has {channels} channels and limits.max_channels is {limit}; mix it down before sending",
            channels=channels,
            limit=limit,
        )


class UnsupportedCodecError(PayloadError):
    """A video in a container that is read, compressed in a way that is not."""

    code = "unsupported_codec"

    def __init__(self, codec: str, known: Sequence[str]) -> None:
        super().__init__(
            f"the video is compressed as {shown(codec)}, which is not read here; send {', '.join(known)}",
            codec=codec,
            known=tuple(known),
        )


class NoFramesError(PayloadError):
    """A video without a picture in it, such as sound alone."""

    code = "no_frames"

    def __init__(self, what: str) -> None:
        super().__init__(f"the video holds {what}; send a recording, or an empty element where video is absent")


class TooManyFramesError(PayloadError):
    """A video with more frames than the limit."""

    code = "too_many_frames"

    def __init__(self, frames: int, limit: int) -> None:
        super().__init__(
            f"the video has {frames:,} frames or more and limits.max_frames is {limit:,}; cut it before sending",
            frames=frames,
            limit=limit,
        )


class TooMuchToDecodeError(PayloadError):
    """A video of which more pixels would have to be decoded, over all frames, than the limit."""

    code = "too_much_to_decode"

    def __init__(self, pixels: int, limit: int) -> None:
        super().__init__(
            f"{pixels:,} pixels of the video would have to be decoded and limits.max_decoded_pixels is {limit:,}; "
            "scale it down or cut it before sending",
            pixels=pixels,
            limit=limit,
        )
