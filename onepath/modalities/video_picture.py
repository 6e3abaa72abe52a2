"""A decoded frame of a video as the picture that is to be seen."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

_TURNS: dict[tuple[int, ...], str] = {
    (-1, 0, 0, 1): "FLIP_LEFT_RIGHT",
    (1, 0, 0, -1): "FLIP_TOP_BOTTOM",
    (-1, 0, 0, -1): "ROTATE_180",
    (0, 1, -1, 0): "ROTATE_270",
    (0, -1, 1, 0): "ROTATE_90",
    (0, 1, 1, 0): "TRANSPOSE",
    (0, -1, -1, 0): "TRANSVERSE",
}
"""Signs of the upper left of a display matrix, `x' = a x + c y` and `y' = b x + d y` with y downwards."""
_ANGLES: dict[int, tuple[int, ...]] = {90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), 270: (0, 1, -1, 0)}
"""The same for angles in degrees, anticlockwise."""


def image_from_frame(frame: Any) -> Image:  # PyAV is not always installed
    """Return a frame of PyAV as an image of mode RGB or RGBA, turned as the container's display matrix says.

    Colours are those of the matrix and the range that the stream names, and of ITU-R BT.601 where it names none.
    Pixels are taken as square.
    """
    import PIL.Image
    from PIL.Image import Transpose

    clear = any(component.is_alpha for component in frame.format.components)
    image = PIL.Image.fromarray(frame.to_ndarray(format="rgba" if clear else "rgb24"))
    turn = _TURNS.get(_matrix_signs(frame))
    return image.transpose(Transpose[turn]) if turn else image


def _matrix_signs(frame: Any) -> tuple[int, ...]:  # PyAV is not always installed
    try:
        found = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV stumbles over side data that FFmpeg knew first; the angle is to be had without them
        return _ANGLES.get(frame.rotation % 360, ())
    if found is None:
        return ()
    # ISO/IEC 14496-12, 6.2.2: a b u, c d v, x y w, as fixed-point numbers.
    a, b, _, c, d = struct.unpack_from("=5i", bytes(found))
    return _sign(a), _sign(b), _sign(c), _sign(d)


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
