"""How far two answers are apart, by each metric of a proof that needs no more than the two."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from onepath.contract.proofs import Metric

Rows = NDArray[np.generic]
"""Answers, rows first: `(rows, width)`, or of any other shape where only equal shapes are compared."""

WORST_CASE: tuple[Metric, ...] = ("max_abs", "max_relative", "cosine_distance")
"""The metrics by which some of the rows are never farther apart than all of them."""


def distance(reference: Rows, candidate: Rows, metric: Metric) -> float:
    """Return how far answers are from others, in float64; infinite where they cannot be compared.

    >>> distance(np.array([[4.0, 0.0]]), np.array([[4.0, 1.0]]), "max_relative")
    0.25

    Args:
        reference: rows first.
        candidate: the answers to judge; of another shape, empty or not finite, they are infinitely far.
        metric: any but `accuracy_loss`, which needs the rows' targets.

    Raises:
        ValueError: the metric is `accuracy_loss`.
    """
    if metric not in _DISTANCES:
        raise ValueError(f"{metric} needs the targets of the rows")
    if reference.shape != candidate.shape or reference.size == 0:
        return float("inf")
    wide, other = _in_rows(reference), _in_rows(candidate)
    found = _DISTANCES[metric](wide, other) if np.isfinite(wide).all() and np.isfinite(other).all() else float("inf")
    return float(found)


def distance_of_outputs(reference: Mapping[str, Rows], candidate: Mapping[str, Rows], metric: Metric) -> float:
    """Return how far the worst of several outputs is from its reference; infinite where there are none or others.

    Args:
        reference: name to output.
        candidate: the outputs to judge, under the same names in the same order.
        metric: see `distance`.

    Raises:
        ValueError: the metric is `accuracy_loss`.
    """
    if not reference or list(reference) != list(candidate):
        return float("inf")
    return max(distance(output, candidate[name], metric) for name, output in reference.items())


def _in_rows(answers: Rows) -> NDArray[np.float64]:
    return answers.astype(np.float64).reshape(len(answers) if answers.ndim else 1, -1)


def largest(reference: Rows) -> float:
    """Return what relative differences are divided by: the largest absolute output, or 1 if that is more."""
    return max(1.0, float(np.abs(reference.astype(np.float64)).max()))


def _max_abs(reference: NDArray[np.float64], candidate: NDArray[np.float64]) -> float:
    return float(np.abs(reference - candidate).max())


def _max_relative(reference: NDArray[np.float64], candidate: NDArray[np.float64]) -> float:
    return float((np.abs(reference - candidate) / largest(reference)).max())


def _mean_abs(reference: NDArray[np.float64], candidate: NDArray[np.float64]) -> float:
    return float(np.abs(reference - candidate).mean())


def _cosine_distance(reference: NDArray[np.float64], candidate: NDArray[np.float64]) -> float:
    norms = np.linalg.norm(reference, axis=1) * np.linalg.norm(candidate, axis=1)
    products = np.einsum("ij,ij->i", reference, candidate)
    alike = (reference == candidate).all(axis=1)
    cosines = np.where(alike, 1.0, products / np.where(norms > 0, norms, np.inf))
    return max(0.0, float((1 - cosines).max()))


def _flips(reference: NDArray[np.float64], candidate: NDArray[np.float64]) -> float:
    return float((reference.argmax(axis=1) != candidate.argmax(axis=1)).mean())


_DISTANCES: dict[Metric, Callable[[NDArray[np.float64], NDArray[np.float64]], float]] = {
    "max_abs": _max_abs,
    "max_relative": _max_relative,
    "mean_abs": _mean_abs,
    "cosine_distance": _cosine_distance,
    "flips": _flips,
}
