"""One value of one row, as the bytes that go on the wire: encoded media, text, or JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from onepath.clients.media import (
    mp4_from_frames,
    npy_from_points,
    png_from_array,
    png_from_image,
    wav_from_samples,
)
from onepath.contract.errors import PayloadError


def payload_from_value(value: object, kind: str) -> bytes:
    """Return the encoded bytes of a value.

    Args:
        value: for every kind, bytes that are encoded already, or a `pathlib.Path` to read. For `image` also a path as
            `str`, a PIL image, or a uint8 array `(height, width)`, `(height, width, 3)` or `(height, width, 4)`. For
            `audio` also a path as `str`, or a pair `(samples, sample_rate_hz)`. For `video` also a path as `str`, or a
            pair `(frames, frames_per_second)` with uint8 frames `(frames, height, width)` or
            `(frames, height, width, 3)`. For `point_cloud` also a path as `str`, or an array `(points, 3 or more)`.
            For `text` a `str`, the text itself. For `tabular` a dict, list or one-dimensional array of cells, where
            None and NaN are missing ones.
        kind: the modality's kind.

    Raises:
        PayloadError: the value cannot be encoded, cannot be read, or is empty (on the wire, empty means absent).
        MissingExtraError: an image needs Pillow or frames need PyAV, which is not installed.
    """
    payload = _encoded(value, kind)
    if not payload:
        raise PayloadError(f"{_shown(value)} is empty, which means absent on the wire; give None for an absent one")
    return payload


def is_one_value(value: object, kind: str) -> bool:
    """Return whether a modality's argument is the value of a single row, and not a sequence of rows.

    >>> is_one_value("seven.png", "image"), is_one_value(["seven.png", None], "image")
    (True, False)
    """
    if isinstance(value, str | bytes | bytearray | memoryview) or not isinstance(value, Sequence):
        return True
    return kind in ("audio", "video") and _is_array_and_rate(value)


def _encoded(value: object, kind: str) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, Path):
        return _bytes_from_file(value)
    encode = _ENCODERS.get(kind)
    if encode is None:
        raise PayloadError(f"{_shown(value)} cannot be encoded for the kind {kind!r}; give bytes or a pathlib.Path")
    return encode(value)


def _image(value: object) -> bytes:
    if isinstance(value, str):
        return _bytes_from_file(Path(value))
    if isinstance(value, np.ndarray):
        return png_from_array(value)
    pillow = sys.modules.get("PIL.Image")  # a PIL image exists only where Pillow was imported
    if pillow is not None and isinstance(value, pillow.Image):
        return png_from_image(value)
    raise PayloadError(f"{_shown(value)} is not an image; give a path, encoded bytes, a PIL image or a uint8 array")


def _audio(value: object) -> bytes:
    if isinstance(value, str):
        return _bytes_from_file(Path(value))
    if _is_array_and_rate(value):
        return wav_from_samples(value[0], value[1])
    raise PayloadError(f"{_shown(value)} is not audio; give a path, encoded bytes or a pair (samples, sample_rate_hz)")


def _video(value: object) -> bytes:
    if isinstance(value, str):
        return _bytes_from_file(Path(value))
    if _is_array_and_rate(value):
        return mp4_from_frames(value[0], value[1])
    raise PayloadError(
        f"{_shown(value)} is not video; give a path, encoded bytes or a pair (frames, frames_per_second)"
    )


def _point_cloud(value: object) -> bytes:
    if isinstance(value, str):
        return _bytes_from_file(Path(value))
    if isinstance(value, np.ndarray):
        return npy_from_points(value)
    raise PayloadError(f"{_shown(value)} is not a point cloud; give a path, encoded bytes or an array (points, 3)")


def _text(value: object) -> bytes:
    if not isinstance(value, str):
        raise PayloadError(f"{_shown(value)} is not text; give a str, bytes in UTF-8 or a pathlib.Path")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise PayloadError(f"the text cannot be written in UTF-8 ({error.reason} at {error.start})") from error


def _tabular(value: object) -> bytes:
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    if isinstance(value, Mapping):
        cells: Any = {name: _cell(cell) for name, cell in value.items()}  # Any: JSON
    elif isinstance(value, list | tuple):
        cells = [_cell(cell) for cell in value]
    else:
        raise PayloadError(f"{_shown(value)} is not a row of a table; give a dict or a list of its cells")
    try:
        return json.dumps(cells, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise PayloadError(f"the row cannot be written as JSON: {error}") from error


def _cell(value: object) -> object:
    number = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(number, float) and math.isnan(number) else number


_ENCODERS: dict[str, Callable[[object], bytes]] = {
    "image": _image,
    "audio": _audio,
    "video": _video,
    "point_cloud": _point_cloud,
    "text": _text,
    "tabular": _tabular,
}


def _is_array_and_rate(value: object) -> TypeGuard[tuple[NDArray[Any], float]]:  # Any: checked when it is encoded
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and isinstance(value[0], np.ndarray)
        and isinstance(value[1], int | float | np.number)
    )


def _bytes_from_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise PayloadError(f"cannot read {path}: {reason}; check the path", path=str(path)) from error


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str | bytes | Path) else f"a value of type {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
