"""The Pareto front of latency and throughput."""

from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, float]
"""Latency, of which less is better, and throughput, of which more is."""


def front_from_points(points: Sequence[Point]) -> list[int]:
    """Return the indices of the points that no other one dominates, by rising latency.

    One point dominates another if it is at least as good in both and better in one; of equal points all are kept.

    >>> front_from_points([(10, 100), (20, 90), (30, 200), (10, 100)])
    [0, 3, 2]
    """
    kept = [index for index, point in enumerate(points) if not any(_dominates(other, point) for other in points)]
    return sorted(kept, key=lambda index: points[index])


def _dominates(first: Point, second: Point) -> bool:
    return first != second and first[0] <= second[0] and first[1] >= second[1]
