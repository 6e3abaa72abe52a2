"""Points on the surfaces of five solids, turned, stretched and noisy, as NPY bytes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from onepath.clients.payloads import payload_from_value

Points = NDArray[np.float64]
Solid = Callable[[int, np.random.Generator], Points]

POINTS = 300
"""Points of every cloud, before the processor chooses among them."""


def clouds_of(count: int, generator: np.random.Generator) -> tuple[list[bytes], NDArray[np.int64]]:
    """Return clouds, and the position in `SOLIDS` of the solid that each is of, the solids in turn."""
    kinds = np.arange(count, dtype=np.int64) % len(SOLIDS)
    solids = list(SOLIDS.values())
    return [payload_from_value(_cloud(solids[kind], generator), "point_cloud") for kind in kinds], kinds


def _cloud(solid: Solid, generator: np.random.Generator) -> NDArray[np.float32]:
    turn, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    stretched = solid(POINTS, generator) * generator.uniform(0.8, 1.25, 3) * generator.uniform(1, 5)
    noisy = stretched @ turn + generator.normal(0, 0.03, (POINTS, 3)) + generator.normal(0, 2, 3)
    return noisy.astype(np.float32)


def _sphere(count: int, generator: np.random.Generator) -> Points:
    points = generator.normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _cube(count: int, generator: np.random.Generator) -> Points:
    points = generator.uniform(-1, 1, (count, 3))
    points[np.arange(count), generator.integers(3, size=count)] = generator.choice([-1.0, 1.0], count)
    return points


def _torus(count: int, generator: np.random.Generator) -> Points:
    around, across = generator.uniform(0, 2 * np.pi, (2, count))
    radius = 1 + 0.35 * np.cos(across)
    return np.stack([radius * np.cos(around), radius * np.sin(around), 0.35 * np.sin(across)], axis=1)


def _cylinder(count: int, generator: np.random.Generator) -> Points:
    around, height = generator.uniform(0, 2 * np.pi, count), generator.uniform(-1.2, 1.2, count)
    end = generator.random(count) < 0.25
    radius = np.where(end, np.sqrt(generator.random(count)), 1.0)
    height = np.where(end, np.sign(height) * 1.2, height)
    return np.stack([0.7 * radius * np.cos(around), 0.7 * radius * np.sin(around), height], axis=1)


def _cone(count: int, generator: np.random.Generator) -> Points:
    around, down = generator.uniform(0, 2 * np.pi, count), np.sqrt(generator.random(count))
    height = np.where(generator.random(count) < 0.3, -1.0, 1 - 2 * down)
    return np.stack([0.9 * down * np.cos(around), 0.9 * down * np.sin(around), height], axis=1)


SOLIDS: dict[str, Solid] = {
    "sphere": _sphere,
    "cube": _cube,
    "torus": _torus,
    "cylinder": _cylinder,
    "cone": _cone,
}
"""In the order of the labels."""
