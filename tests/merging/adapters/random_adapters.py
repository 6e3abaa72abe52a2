"""Random adapters, and what they do to a layer, in numpy."""

import numpy as np
import torch

from onepath.merging.adapters import LowRankAdapter


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def random_adapter(
    outputs: int, *inputs: int, rank: int = 2, seed: int = 0, biased: bool = False, alpha: float | None = None
) -> LowRankAdapter:
    return LowRankAdapter(
        drawn(rank, *inputs, seed=seed),
        drawn(outputs, rank, seed=seed + 100),
        drawn(outputs, seed=seed + 200) if biased else None,
        alpha=alpha,
    )


def relative_difference(found: torch.Tensor, expected: np.ndarray) -> float:
    return float(np.abs(found.detach().numpy() - expected).max() / max(1.0, np.abs(expected).max()))
