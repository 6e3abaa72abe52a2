"""Point clouds: NPY, PLY and XYZ bytes to float32 points of a fixed number, or to groups of neighbours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from onepath.contract.dtypes import DType
from onepath.contract.tensors import Closed
from onepath.modalities.data_errors import TooFewPointsError
from onepath.modalities.decoding import check_size, corrupt_on_failure
from onepath.modalities.errors import NotFiniteError, OutOfRangeError, UnsupportedFormatError
from onepath.modalities.point_arrays import points_from_npy
from onepath.modalities.point_ply import points_from_ply
from onepath.modalities.point_sampling import Axis, farthest_points, grouped, in_unit_sphere, sorted_points, turned
from onepath.modalities.point_text import points_from_xyz

Format = Literal["NPY", "PLY", "XYZ"]
FORMATS: tuple[Format, ...] = ("NPY", "PLY", "XYZ")

_FARTHEST = 1e38
"""The largest coordinate: differences of two of them fit into float32."""
_TEXT_STARTS = frozenset(b"+-.0123456789#")
_OTHER_TEXT = b"# .PCD"


class Groups(Closed):
    """Neighbourhoods of points, as a tokenizer of point groups takes them.

    Attributes:
        count: how many groups there are.
        neighbours: points of a group; the centre itself is the first of them.
    """

    count: int = Field(ge=1, le=1 << 14)
    neighbours: int = Field(ge=1, le=1024)


class PointCloudSettings(Closed):
    """What the model fixed.

    Attributes:
        points: how many points are kept, by farthest-point sampling; too few points are taken more than once.
        normalise: `unit_sphere` subtracts the centroid and divides by the largest distance from it; `none` keeps the
            coordinates as they are.
        axes: which of the file's axes become the model's x, y and z, and in which direction.
        groups: the neighbourhoods of the kept points; None gives the points themselves.
    """

    points: int = Field(ge=1, le=1 << 15)
    normalise: Literal["unit_sphere", "none"] = "unit_sphere"
    axes: tuple[Axis, Axis, Axis] = ("x", "y", "z")
    groups: Groups | None = None

    @model_validator(mode="after")
    def _each_axis_once(self) -> PointCloudSettings:
        if len({axis[-1] for axis in self.axes}) < 3:
            raise ValueError("axes names an axis twice; name each of x, y and z once")
        return self

    @model_validator(mode="after")
    def _enough_points(self) -> PointCloudSettings:
        if self.groups and max(self.groups.count, self.groups.neighbours) > self.points:
            raise ValueError(f"groups has more centres or neighbours than there are points ({self.points})")
        return self


class PointCloudLimits(Closed):
    """What a payload may cost; sizes are read from its header before its values, where it has one.

    Attributes:
        max_bytes: the most bytes.
        max_points: the most points, before sampling, which takes time in proportion to them.
        min_points: the fewest points.
    """

    max_bytes: int = Field(default=32 << 20, gt=0)
    max_points: int = Field(default=1 << 17, gt=0, le=1 << 24)
    min_points: int = Field(default=1, gt=0)


class PointCloudProcessor:
    """Turns a file of points into those that the model takes, whatever their order in the file.

    Points are put into an order of their own before anything else, so that equal clouds give equal bits. Columns after
    x, y and z, and everything else that the file holds, are not read.
    """

    settings_type: ClassVar[type[PointCloudSettings]] = PointCloudSettings
    limits_type: ClassVar[type[PointCloudLimits]] = PointCloudLimits

    def __init__(self, settings: PointCloudSettings, limits: PointCloudLimits, assets: Path) -> None:
        """Prepare to decode; point clouds need no files and nothing but numpy."""
        del assets
        self._settings = settings
        self._limits = limits

    @property
    def dtype(self) -> DType:
        """Always float32."""
        return "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        """`(points, 3)`, or `(groups, 1 + neighbours, 3)`: a centre, then its neighbours less the centre."""
        groups = self._settings.groups
        return (groups.count, 1 + groups.neighbours, 3) if groups else (self._settings.points, 3)

    def decode(self, payload: bytes) -> NDArray[np.generic]:
        """Return one row, float32 `(points, 3)` in the order of farthest-point sampling, or its groups.

        The first point is the farthest from the centroid.

        Raises:
            PayloadError: the payload is empty, too large, of another format, corrupt or cut off, or has too few points,
                too many, or coordinates that are NaN, infinite or too large for float32.
        """
        check_size(payload, self._limits.max_bytes)
        found = format_from_payload(payload)
        # A signalling NaN would warn where it is cast; it is refused below as any other.
        with corrupt_on_failure(f"{found} point cloud"), np.errstate(invalid="ignore"):
            points = self._checked(_READERS[found](payload, self._limits.max_points))
        return self._row(sorted_points(turned(points, self._settings.axes))).astype(np.float32)

    def _checked(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        if len(points) < self._limits.min_points:
            raise TooFewPointsError(len(points), self._limits.min_points)
        largest = float(np.abs(points).max())  # NaN, if any coordinate is
        if not np.isfinite(largest):
            raise NotFiniteError("a coordinate")
        if largest > _FARTHEST:
            raise OutOfRangeError("a coordinate", largest, "use a larger unit of length")
        return points

    def _row(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        settings = self._settings
        placed = in_unit_sphere(points) if settings.normalise == "unit_sphere" else points
        sampled = placed[farthest_points(placed, settings.points)]
        return grouped(sampled, settings.groups.count, settings.groups.neighbours) if settings.groups else sampled


def format_from_payload(payload: bytes) -> Format:
    """Return the format that the first bytes announce; text that begins with a number or a comment is XYZ.

    Raises:
        UnsupportedFormatError: they announce none of the formats.
    """
    if payload.startswith(b"\x93NUMPY"):
        return "NPY"
    if payload[:4] in (b"ply\n", b"ply\r"):
        return "PLY"
    text = payload[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    if text and text[0] in _TEXT_STARTS and not text.startswith(_OTHER_TEXT):
        return "XYZ"
    raise UnsupportedFormatError("point cloud", payload, FORMATS)


_READERS: dict[Format, Callable[[bytes, int], NDArray[np.float64]]] = {
    "NPY": points_from_npy,
    "PLY": points_from_ply,
    "XYZ": points_from_xyz,
}
