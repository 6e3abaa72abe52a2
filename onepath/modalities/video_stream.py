"""Decoding the chosen frames of a video, one at a time, within limits that hold even where the header lies."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from onepath.contract.tensors import Closed
from onepath.modalities.decoding import check_sides
from onepath.modalities.errors import CorruptError, TruncatedError
from onepath.modalities.media_errors import (
    NoFramesError,
    TooLongError,
    TooManyFramesError,
    TooMuchToDecodeError,
    UnsupportedCodecError,
)
from onepath.modalities.video_header import Format, check_whole, size_from_payload
from onepath.modalities.video_packets import frames_in_packet, is_hidden
from onepath.modalities.video_picture import image_from_frame

if TYPE_CHECKING:
    from PIL.Image import Image

Choice = Callable[[int], Sequence[int]]
"""From the number of frames to the indices of those that are wanted."""

_DEMUXERS: dict[Format, str] = {"MP4": "mp4", "WebM": "webm", "GIF": "gif"}
_CODECS = ("h264", "hevc", "mpeg4", "vp8", "vp9", "av1", "gif")
_UNMEASURED = "mpeg4"
"""The one codec for which FFmpeg does not take the size of the frames from the container."""
_CODED_MARGIN = 63
"""Columns and rows that a codec may add to a picture's size; they are cut off after decoding."""
_MOST_PACKETS = 1 << 19
"""Packets of sound and pictures that are read through."""


class VideoLimits(Closed):
    """What a payload may cost; sizes and lengths are read from its index, and checked again while decoding.

    Attributes:
        max_bytes: the most encoded bytes.
        max_seconds: the longest duration, before frames are chosen.
        max_frames: the most frames, before frames are chosen.
        max_pixels: the most pixels of one frame.
        max_side: the longest side of a frame, in pixels.
        min_side: the shortest side of a frame, in pixels.
        max_decoded_pixels: the most pixels, of all frames, hidden ones too, that are decoded to reach the chosen ones.
    """

    max_bytes: int = Field(default=64 << 20, gt=0)
    max_seconds: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    max_frames: int = Field(default=7200, gt=0)
    max_pixels: int = Field(default=9_000_000, gt=0, le=89_000_000)
    max_side: int = Field(default=8192, gt=0, le=16_384)
    min_side: int = Field(default=1, gt=0)
    max_decoded_pixels: int = Field(default=4_000_000_000, gt=0)


def images_from_payload(
    payload: bytes, found: Format, limits: VideoLimits, choice: Choice
) -> Iterator[tuple[list[int], Image]]:
    """Yield each chosen frame once, with its places among the chosen ones.

    Decoding begins at the last frame before the first chosen one that stands alone, and ends with the last chosen one.
    It takes one thread, so that nothing depends on how many there are.

    Raises:
        PayloadError: a limit is passed, or there is no frame, or one is missing or damaged.
        Exception: whatever PyAV raises besides its own errors.
    """
    import av

    if size := size_from_payload(payload, found):
        _check_sides(*size, limits)
    check_whole(payload, found)
    try:
        with _opened(payload, found, limits) as container:
            yield from _chosen_images(container, limits, choice)
    except av.FFmpegError as error:  # Its words speak of functions.
        raise CorruptError(f"{found} video", str(error.strerror)) from error


def _chosen_images(container: Any, limits: VideoLimits, choice: Choice) -> Iterator[tuple[list[int], Image]]:  # PyAV's
    stream = _picture_stream(container, limits)
    packets = _packets(container, stream, limits)
    times = sorted({packet.pts for packet in packets if _is_shown(packet, stream)})
    if not times:
        raise NoFramesError("no frames")
    wanted: dict[int, list[int]] = defaultdict(list)
    for place, index in enumerate(choice(len(times))):
        wanted[times[index]].append(place)
    start = _start(packets, min(wanted))
    end = 1 + max(place for place, packet in enumerate(packets) if packet.pts in wanted)
    frames = sum(frames_in_packet(memoryview(packet), _codec(stream)) for packet in packets[start:end])
    _check_cost(frames * stream.codec_context.width * stream.codec_context.height, limits)
    for time, image in _images(stream, packets[start:], set(wanted), limits):
        yield wanted[time], image


def _opened(payload: bytes, found: Format, limits: VideoLimits) -> Any:  # PyAV has no types here
    import av

    # FFmpeg must not guess the format (a playlist names other files), must not open anything besides these bytes, and
    # must not decode pictures to find out how large they are, except where no container says so, and then small ones.
    options = {
        "format_whitelist": _DEMUXERS[found],
        "protocol_whitelist": "none",
        "codec_whitelist": _UNMEASURED,
        "max_pixels": str(_coded_pixels(limits)),
        "max_streams": "64",
    }
    return av.open(io.BytesIO(payload), format=_DEMUXERS[found], options=options, metadata_errors="replace")


def _coded_pixels(limits: VideoLimits) -> int:
    return limits.max_pixels + 2 * _CODED_MARGIN * limits.max_side + _CODED_MARGIN**2


def _picture_stream(container: Any, limits: VideoLimits) -> Any:  # PyAV has no types here
    pictures = [each for each in container.streams.video if not each.disposition & each.disposition.attached_pic]
    if not pictures:
        raise NoFramesError("sound alone" if container.streams.audio else "no pictures")
    stream, context = pictures[0], pictures[0].codec_context
    codec = context.codec.canonical_name if context else "something unknown"
    if codec not in _CODECS:
        raise UnsupportedCodecError(codec, _CODECS)
    if stream.frames > limits.max_frames:
        raise TooManyFramesError(stream.frames, limits.max_frames)
    if not context.width or not context.height:
        raise CorruptError("video", "it does not say how large its frames are, or they are absurdly large")
    _check_sides(context.width, context.height, limits)
    context.thread_count = 1
    context.options = {"err_detect": "explode", "max_pixels": str(_coded_pixels(limits))}
    return stream


def _packets(container: Any, stream: Any, limits: VideoLimits) -> list[Any]:  # PyAV's
    packets: list[Any] = []
    indexed = 0
    for packet in _stored_packets(container):
        if packet.stream_index != stream.index:
            continue
        if packet.is_corrupt:
            raise TruncatedError("video", f"frame {len(packets)} is not whole")
        if packet.pts is None:  # the end, or a frame without a time
            continue
        indexed += 1
        if indexed > limits.max_frames:
            raise TooManyFramesError(indexed, limits.max_frames)
        if packet.size:
            packets.append(packet)
    if indexed < len(stream.index_entries):
        raise TruncatedError("video", f"{indexed} of {len(stream.index_entries)} frames are there")
    _check_duration(packets, stream, limits)
    return packets


def _stored_packets(container: Any) -> Iterator[Any]:  # PyAV's
    """Yield the packets of every stream, as long as the file is large enough to hold each of them once."""
    stored_bytes = 0
    for number, packet in enumerate(container.demux()):
        stored_bytes += packet.size
        if stored_bytes > container.size:
            raise CorruptError("video", "its frames share bytes, or are compressed twice")
        if number > _MOST_PACKETS:
            raise CorruptError("video", f"it has more than {_MOST_PACKETS:,} packets")
        yield packet


def _check_duration(packets: Sequence[Any], stream: Any, limits: VideoLimits) -> None:  # PyAV's
    first = min((packet.pts for packet in packets), default=0)
    last = max((packet.pts + (packet.duration or 0) for packet in packets), default=0)
    seconds = float((last - first) * stream.time_base)
    if seconds > limits.max_seconds:
        raise TooLongError(seconds, limits.max_seconds)


def _check_sides(width: int, height: int, limits: VideoLimits) -> None:
    check_sides(width, height, max_pixels=limits.max_pixels, max_side=limits.max_side, min_side=limits.min_side)


def _check_cost(pixels: int, limits: VideoLimits) -> None:
    if pixels > limits.max_decoded_pixels:
        raise TooMuchToDecodeError(pixels, limits.max_decoded_pixels)


def _codec(stream: Any) -> str:  # PyAV's
    name: str = stream.codec_context.codec.canonical_name
    return name


def _is_shown(packet: Any, stream: Any) -> bool:  # PyAV's
    # An edit list can leave frames out, too.
    return not packet.is_discard and not is_hidden(memoryview(packet), _codec(stream))


def _start(packets: Sequence[Any], first: int) -> int:  # PyAV's
    """Return where decoding has to begin for the frame of a time: at the last key frame that is shown no later."""
    starts = (place for place, packet in enumerate(packets) if packet.is_keyframe and packet.pts <= first)
    return max(starts, default=0)


def _images(
    stream: Any, packets: Sequence[Any], wanted: set[int], limits: VideoLimits
) -> Iterator[tuple[int, Image]]:  # PyAV's
    decoded = 0
    for packet in [*packets, None]:
        coded = frames_in_packet(memoryview(packet), _codec(stream)) if packet is not None else 1
        for frame in stream.codec_context.decode(packet):
            _check_sides(frame.width, frame.height, limits)
            decoded += coded * frame.width * frame.height
            _check_cost(decoded, limits)
            if frame.is_corrupt:
                raise CorruptError("video", "a frame of it is damaged")
            if frame.pts in wanted:
                wanted.discard(frame.pts)
                yield frame.pts, image_from_frame(frame)
        if not wanted:
            return
    raise CorruptError("video", f"{len(wanted)} of its frames cannot be decoded")
