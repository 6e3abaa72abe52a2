"""From the points of a file to the model's: in an order of their own, in the unit sphere, sampled, and grouped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Axis = Literal["x", "y", "z", "-x", "-y", "-z"]
Points = NDArray[np.float64]
"""`(points, 3)`."""


def sorted_points(points: Points) -> Points:
    """Return the points ordered by x, then y, then z, so that nothing depends on their order in the file."""
    positive = points + 0.0  # minus zero would keep its place
    ordered: Points = positive[np.lexsort(positive.T[::-1])]
    return ordered


def turned(points: Points, axes: Sequence[Axis]) -> Points:
    """Return the points in axes of another order or direction.

    >>> turned(np.array([[1.0, 2.0, 3.0]]), ("x", "z", "-y"))
    array([[ 1.,  3., -2.]])
    """
    columns = ["xyz".index(axis[-1]) for axis in axes]
    return points[:, columns] * [-1.0 if axis.startswith("-") else 1.0 for axis in axes]


def in_unit_sphere(points: Points) -> Points:
    """Return the points around their centroid, divided by the largest distance from it; equal points become zeros.

    >>> in_unit_sphere(np.array([[10.0, 0, 0], [14.0, 0, 0]]))[:, 0]
    array([-1.,  1.])
    """
    # Seen from one of their own, points that are equal or close have exact differences, however far away they are.
    centred: Points = points - points.min(axis=0)
    centred -= centred.mean(axis=0)
    largest = np.abs(centred).max()
    if largest > 0:
        centred /= largest  # squares of very small or very large numbers would not fit
        centred /= np.sqrt(np.square(centred).sum(axis=1).max())
    return centred


def farthest_points(points: Points, count: int) -> NDArray[np.intp]:
    """Return the indices of `count` points, each the farthest from all before it (Eldar et al., 1997).

    The first is the farthest from the centroid, and of equally far ones the first in order is taken. Once every
    distinct point has been taken, the indices begin again from the first: so do those of too few points.

    >>> farthest_points(np.array([[0.0, 0, 0], [9.0, 0, 0], [10.0, 0, 0], [4.0, 0, 0]]), 6)
    array([0, 2, 3, 1, 0, 2])

    Args:
        points: at least one.
        count: how many indices are wanted.
    """
    axes = np.ascontiguousarray(points.T)
    squares, distances = np.empty_like(axes), np.full(len(points), np.inf)
    taken = [int(_squared_distances(axes, points.mean(axis=0), squares).argmax())]
    while len(taken) < count:
        np.minimum(distances, _squared_distances(axes, points[taken[-1]], squares), out=distances)
        following = int(distances.argmax())
        if distances[following] == 0:
            break
        taken.append(following)
    return np.resize(np.array(taken, dtype=np.intp), count)


def grouped(points: Points, count: int, neighbours: int) -> Points:
    """Return the neighbourhoods of the first `count` points, `(count, 1 + neighbours, 3)`.

    A group holds its centre, and then the nearest points less the centre, from the nearest (which is the centre itself,
    hence zero) to the farthest; of equally near ones the first in order comes first.

    >>> grouped(np.array([[0.0, 0, 0], [5.0, 0, 0], [1.0, 0, 0]]), 1, 2)[0, :, 0]
    array([0., 0., 1.])

    Args:
        points: in the order of farthest-point sampling, of which any beginning is a sampling too.
        count: how many of them are centres.
        neighbours: points of a group, at most as many as there are.
    """
    axes = np.ascontiguousarray(points.T)
    squares, groups = np.empty_like(axes), np.empty((count, 1 + neighbours, 3))
    for group, centre in zip(groups, points[:count], strict=True):
        nearest = _nearest(_squared_distances(axes, centre, squares), neighbours)
        group[0], group[1:] = centre, points[nearest] - centre
    return groups


def _nearest(distances: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    # A partition alone would take any of those that are equally far at its border.
    border = np.partition(distances, count - 1)[count - 1]
    within = np.flatnonzero(distances <= border)
    return within[np.argsort(distances[within], kind="stable")][:count]


def _squared_distances(
    axes: NDArray[np.float64], centre: NDArray[np.float64], squares: NDArray[np.float64]
) -> NDArray[np.float64]:
    # Three long rows, and no new memory: farthest-point sampling does this once a point.
    np.subtract(axes, centre[:, np.newaxis], out=squares)
    np.multiply(squares, squares, out=squares)
    squares[0] += squares[1]
    sums: NDArray[np.float64] = squares[0]
    sums += squares[2]
    return sums
