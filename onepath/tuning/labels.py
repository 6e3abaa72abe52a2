"""Labels of points in a diagram, each put where it covers neither another label nor a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

_DISTANCES = (12, 26, 42, 60)
"""From a point to its label; a line joins the two unless they are side by side."""
_PLACES = (
    *((1, 0, "left", "center"), (-1, 0, "right", "center"), (0, 1, "center", "bottom"), (0, -1, "center", "top")),
    *((1, 1, "left", "bottom"), (-1, 1, "right", "bottom"), (1, -1, "left", "top"), (-1, -1, "right", "top")),
)
"""Right, up, and the side of the text that is toward the point."""
_POINT_RADIUS, _LINE_RADIUS = 9.0, 2.0

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in pixels."""
Text = Any  # matplotlib has no types here


@dataclass(frozen=True)
class Label:
    """What is written at a point.

    Attributes:
        text: the words.
        x: the point, in the units of the diagram's axes.
        y: as `x`.
        bold: whether it stands out.
        needed: whether it is written, in grey, only where it covers nothing.
    """

    text: str
    x: float
    y: float
    bold: bool = False
    needed: bool = True


def place_labels(
    axes: Any, labels: Sequence[Label], *, points: Sequence[Point], lines: Sequence[Sequence[Point]]
) -> None:
    """Write labels beside their points, the needed ones first; where all places are taken they cover what is least.

    Args:
        axes: matplotlib's, whose limits and legend are set.
        labels: what is written.
        points: every point that is drawn.
        lines: the corners of lines whose parts are level or upright.
    """
    axes.figure.draw_without_rendering()
    taken = [_around(*axes.transData.transform(point)) for point in points]
    taken += [_along(*axes.transData.transform(ends)) for line in lines for ends in pairwise(line)]
    if axes.get_legend() is not None:
        taken.append(_box(axes.get_legend()))
    for label in sorted(labels, key=lambda label: (not label.needed, not label.bold)):
        distances = _DISTANCES if label.needed else _DISTANCES[:1]
        tried = [_written(axes, label, place, distance) for distance, place in product(distances, _PLACES)]
        covered = [_covered(_box(text), taken, _box(axes)) for text in tried]
        kept = tried[covered.index(min(covered))] if label.needed or min(covered) == 0 else None
        for text in tried:
            if text is not kept:
                text.remove()
        if kept is not None:
            taken.append(_box(kept))


def _written(axes: Any, label: Label, place: tuple[int, int, str, str], distance: int) -> Text:  # axes: as above
    right, up, horizontal, vertical = place
    line = {"arrowstyle": "-", "color": "#c4c4c4", "shrinkB": 7, "linewidth": 0.8}
    return axes.annotate(
        label.text,
        (label.x, label.y),
        xytext=(right * distance, up * distance),
        textcoords="offset points",
        ha=horizontal,
        va=vertical,
        fontsize=9 if label.needed else 8,
        color="#000000" if label.needed else "#7a7a7a",
        fontweight="bold" if label.bold else "normal",
        arrowprops=line if up or distance > _DISTANCES[0] else None,
    )


def _around(x: float, y: float) -> Box:
    return x - _POINT_RADIUS, y - _POINT_RADIUS, x + _POINT_RADIUS, y + _POINT_RADIUS


def _along(begin: Point, end: Point) -> Box:
    (left, right), (bottom, top) = (sorted(ends) for ends in zip(begin, end, strict=True))
    return left - _LINE_RADIUS, bottom - _LINE_RADIUS, right + _LINE_RADIUS, top + _LINE_RADIUS


def _box(drawn: Any) -> Box:  # a text, a legend or axes of matplotlib
    from matplotlib.text import Text as WrittenText

    extent = drawn.get_window_extent()
    if isinstance(drawn, WrittenText):  # an annotation's own box, with its place known by now, holds its line as well
        extent = WrittenText.get_window_extent(drawn)
    return extent.x0, extent.y0, extent.x1, extent.y1


def _covered(box: Box, taken: Sequence[Box], frame: Box) -> float:
    """Return the area of a box that lies on others or outside of a frame, in square pixels.

    >>> _covered((0, 0, 4, 4), [(3, 3, 9, 9)], (1, 0, 9, 9)), _covered((0, 0, 1, 1), [(2, 0, 3, 1)], (0, 0, 9, 9))
    (5.0, 0.0)
    """
    outside = (box[2] - box[0]) * (box[3] - box[1]) - _shared(box, frame)
    return float(outside + sum(_shared(box, other) for other in taken))


def _shared(first: Box, second: Box) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return width * height if width > 0 and height > 0 else 0.0
