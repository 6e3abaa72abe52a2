"""The ways in which a payload can fail, one class and one code each."""

from __future__ import annotations

from collections.abc import Sequence

from onepath.contract.errors import PayloadError

_SHOWN_CHARACTERS = 40


def shown(text: str) -> str:
    r"""Return text from a payload as it may stand in a message: quoted, ASCII and short.

    >>> shown("prix\ud800")
    "'prix\\ud800'"
    """
    return ascii(text[:_SHOWN_CHARACTERS] + ("…" if len(text) > _SHOWN_CHARACTERS else ""))


class EmptyPayloadError(PayloadError):
    """A payload with nothing in it to decode."""

    code = "empty"

    def __init__(self, what: str = "no bytes") -> None:
        super().__init__(f"the payload holds {what}; send content, or an empty element where the modality is absent")


class RequiredPayloadError(PayloadError):
    """A payload that is absent although the model requires it."""

    code = "required"

    def __init__(self) -> None:
        super().__init__("the payload is absent and the model requires it; send one with every row")


class TooLargeError(PayloadError):
    """A payload of more bytes than the limit."""

    code = "too_large"

    def __init__(self, size_bytes: int, limit: int) -> None:
        super().__init__(
            f"the payload has {size_bytes:,} bytes and limits.max_bytes is {limit:,}; send a smaller one",
            size_bytes=size_bytes,
            limit=limit,
        )


class UnsupportedFormatError(PayloadError):
    """A payload that is not of a format that the modality reads."""

    code = "unsupported_format"

    def __init__(self, what: str, start: bytes, known: Sequence[str]) -> None:
        super().__init__(
            f"the payload starts with {start[:8].hex(' ') or 'nothing'}, which is no {what} that is read here; "
            f"send {', '.join(known)}",
            known=tuple(known),
        )


class CorruptError(PayloadError):
    """A payload of a supported format whose content cannot be decoded."""

    code = "corrupt"
    reason: str

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(
            f"the {what} cannot be decoded ({reason}); check that it was sent whole, or encode it again", reason=reason
        )


class TruncatedError(PayloadError):
    """A payload that ends before its content does."""

    code = "truncated"

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"the {what} is cut off ({reason}); send the whole file", reason=reason)


class TooManyPixelsError(PayloadError):
    """An image, or a frame of a video, with more pixels than the limit."""

    code = "too_many_pixels"

    def __init__(self, width: int, height: int, limit: int) -> None:
        super().__init__(
            f"the image has {width} x {height} = {width * height:,} pixels and limits.max_pixels is {limit:,}; "
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
            f"the image is {width} x {height} pixels and limits.max_side is {limit}; scale it down before sending",
            width=width,
            height=height,
            limit=limit,
        )


class TooSmallError(PayloadError):
    """An image, or a frame of a video, one of whose sides is shorter than the limit."""

    code = "too_small"

    def __init__(self, width: int, height: int, limit: int) -> None:
        super().__init__(
            f"the image is {width} x {height} pixels and limits.min_side is {limit}; send a larger one",
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


class TooFewPointsError(PayloadError):
    """A point cloud with fewer points than the limit."""

    code = "too_few_points"

    def __init__(self, points: int, limit: int) -> None:
        super().__init__(
            f"the point cloud has {points:,} points and limits.min_points is {limit:,}; "
            "send more, or an empty element where the modality is absent",
            points=points,
            limit=limit,
        )


class TooManyPointsError(PayloadError):
    """A point cloud with more points than the limit."""

    code = "too_many_points"

    def __init__(self, points: int, limit: int) -> None:
        super().__init__(
            f"the point cloud has {points:,} points or more and limits.max_points is {limit:,}; "
            "thin it out before sending",
            points=points,
            limit=limit,
        )


class WrongShapeError(PayloadError):
    """An array that is no list of points."""

    code = "wrong_shape"

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(f"the payload holds {found}; send {wanted}", found=found)


class NotFiniteError(PayloadError):
    """A number that is NaN or infinite."""

    code = "not_finite"

    def __init__(self, where: str) -> None:
        super().__init__(f"{where} is NaN or infinite; send finite numbers, and null for a missing cell", where=where)


class OutOfRangeError(PayloadError):
    """A finite number that is too large to be meant, or to be held by the model's type."""

    code = "out_of_range"

    def __init__(self, where: str, value: float, advice: str) -> None:
        super().__init__(f"{where} is {value:.6g}, which is out of range; {advice}", where=where, value=value)


class NotUtf8Error(PayloadError):
    """Text that is not UTF-8."""

    code = "not_utf8"

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(
            f"the payload is not UTF-8 (byte {position}: {reason}); encode the text as UTF-8",
            position=position,
            reason=reason,
        )


class NulCharacterError(PayloadError):
    """Text with a NUL character, as UTF-16 or binary data have."""

    code = "nul_character"

    def __init__(self, position: int) -> None:
        super().__init__(
            f"the text holds a NUL at character {position}; send text as UTF-8, without binary data", position=position
        )


class TooManyCharactersError(PayloadError):
    """Text with more characters than the limit."""

    code = "too_many_characters"

    def __init__(self, characters: int, limit: int) -> None:
        super().__init__(
            f"the text has {characters:,} characters and limits.max_characters is {limit:,}; shorten it",
            characters=characters,
            limit=limit,
        )


class NotJsonError(PayloadError):
    """A table row that is not JSON."""

    code = "not_json"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the payload is not JSON ({reason}); send an object or an array of numbers", reason=reason)


class WrongTypeError(PayloadError):
    """A value of another type than the modality reads, such as a cell that is no number."""

    code = "wrong_type"

    def __init__(self, where: str, found: str, wanted: str) -> None:
        super().__init__(f"{where} is {found}; send {wanted}", where=where, found=found)


class WrongColumnsError(PayloadError):
    """A row with a column that the model does not have, or another number of cells."""

    code = "wrong_columns"

    def __init__(self, problem: str, columns: Sequence[str]) -> None:
        known = ", ".join(columns[:8]) + (f" and {len(columns) - 8} more" if len(columns) > 8 else "")
        super().__init__(f"{problem}; the columns are {known}", problem=problem)


class DuplicateColumnError(PayloadError):
    """A row that gives one column twice."""

    code = "duplicate_column"

    def __init__(self, column: str) -> None:
        super().__init__(f"the column {shown(column)} is given more than once; send it once", column=column)


class DecoderFailedError(PayloadError):
    """A plug-in that broke its contract: it raised something else, or made another array than it declared."""

    code = "decoder_failed"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the decoder failed ({reason}); this is a fault of the plug-in, report it to its author")
