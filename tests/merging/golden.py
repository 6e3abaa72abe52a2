"""The golden arrays, see tests/golden/README.md."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "golden"


@lru_cache
def mm_lego() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "mm_lego.npz") as file:
        return dict(file)


@lru_cache
def m2pt() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "m2pt.npz") as file:
        return dict(file)


def wide(name: str) -> Tensor:
    """An MM-Lego array in float64."""
    return torch.from_numpy(mm_lego()[name].astype(np.float64))


def largest_difference(tensor: Tensor, array: np.ndarray) -> float:
    return float(np.abs(tensor.detach().numpy() - array).max())
