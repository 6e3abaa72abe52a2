"""Raw answers as the graph serves them, to hold what it answers against the stages before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onepath.contract.manifest import Manifest

SERVED_ROUNDING = 1e-6
"""How far what torch serves in float32 may be from what float64 makes of the same logits."""


def as_served(raw: NDArray[np.float64], manifest: Manifest) -> NDArray[np.float64]:
    """Return raw answers `(rows, width)` as the graph serves them: probabilities, where the task is classification."""
    if manifest.task != "classification":
        return raw
    exponents = np.exp(raw - raw.max(axis=1, keepdims=True))
    served: NDArray[np.float64] = exponents / exponents.sum(axis=1, keepdims=True)
    return served
