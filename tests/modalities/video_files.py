"""Clips for the tests, made by PyAV, and changed byte by byte where no encoder would write them."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from typing import Any

import av
import numpy as np
from PIL import Image

LOSSLESS = {"qp": "0", "preset": "ultrafast"}


def clip_file(
    frames: Any,
    codec: str = "libx264rgb",
    container: str = "mp4",
    *,
    times: Any = None,
    b_frames: int = 0,
    group: int = 12,
    muxer: dict[str, str] | None = None,
    **options: str,
) -> bytes:
    """Return a clip of uint8 frames `(frames, height, width, 3)`, ten a second or at times in 1/100 s."""
    file = io.BytesIO()
    exact = LOSSLESS if codec == "libx264rgb" else {}
    with av.open(file, "w", format=container, options=muxer or {}) as output:
        stream = output.add_stream(codec, rate=10 if times is None else 100, options={**exact, **options})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = {"libx264rgb": "rgb24", "gif": "rgb8"}.get(codec, "yuv420p")
        context = stream.codec_context
        context.gop_size, context.max_b_frames, context.thread_count = group, b_frames, 1
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels, dtype=np.uint8), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = int(times[index]), Fraction(1, 100)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()


def plane_file(y: int, u: int, v: int, *, colour: str | None = None) -> bytes:
    """Return a lossless clip of one flat frame of limited-range YUV, with or without the name of its matrix."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=10, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = 16, 16, "yuv444p"
        if colour:
            stream.codec_context.options = {"qp": "0", "colorspace": colour}
        planes = np.stack([np.full((16, 16), level, dtype=np.uint8) for level in (y, u, v)])
        output.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv444p")))
        output.mux(stream.encode())
    return file.getvalue()


def gif_file(images: list[Image.Image], **options: Any) -> bytes:
    file = io.BytesIO()
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=100, **options)
    return file.getvalue()


def sound_in_mp4() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return file.getvalue()


def levels(count: int, height: int = 16, width: int = 16, step: int = 5) -> np.ndarray:
    """Return flat grey frames, each brighter than the one before."""
    frames = np.zeros((count, height, width, 3), dtype=np.uint8)
    frames += (step * np.arange(count, dtype=np.uint8))[:, None, None, None]
    return frames


def moving(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return noise that moves to the right by a column a frame, so that frames refer to each other."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.stack([np.roll(noise, index, axis=1) for index in range(count)])


def index_first(mp4: bytes) -> bytes:
    """Return an MP4 whose boxes mdat and moov, in this order at its end, have changed places."""
    data, index = mp4.find(b"mdat") - 4, mp4.find(b"moov") - 4
    moov = bytearray(mp4[index:])
    place = moov.find(b"stco") + 12
    struct.pack_into(">I", moov, place, struct.unpack_from(">I", moov, place)[0] + len(moov))
    return mp4[:data] + bytes(moov) + mp4[data:index]


def turned_file(mp4: bytes, a: int, b: int, c: int, d: int) -> bytes:
    """Return an MP4 with a display matrix, `x' = a x + c y` and `y' = b x + d y` with y downwards."""
    place = mp4.find(b"tkhd") + 4 + 40
    changed = bytearray(mp4)
    struct.pack_into(">9i", changed, place, a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    return bytes(changed)


def with_count(mp4: bytes, box: bytes, offset: int, count: int) -> bytes:
    place = mp4.find(box) + 4 + offset
    return mp4[:place] + struct.pack(">I", count) + mp4[place + 4 :]


def referring_file(mp4: bytes, address: str) -> bytes:
    """Return an MP4 whose samples lie at an address, as the data reference of its track says."""
    location = address.encode() + b"\0"
    place = mp4.find(b"url ") - 4
    made = bytearray(mp4[: place + 8] + bytes(4) + location + mp4[place + 12 :])
    for name in (b"url ", b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        box = made.find(name) - 4
        struct.pack_into(">I", made, box, struct.unpack_from(">I", made, box)[0] + len(location))
    return bytes(made)
