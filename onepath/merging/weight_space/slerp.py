"""The spherical mean of models: directions on the sphere, norms interpolated linearly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onepath.merging.lego.heads import SMALLEST_NORM
from onepath.merging.lego.heads import slerp as spherical_mean
from onepath.merging.weight_space.linear import weighted_sum
from onepath.merging.weight_space.method import Shares, normalised


def slerp(tensors: Sequence[Tensor], weights: Shares) -> Tensor:
    """Return the weighted spherical mean, each tensor taken as one vector.

    Between two models this is spherical linear interpolation (Shoemake 1985) with t = the second one's share of the
    weights. Where no mean direction is defined (a tensor is zero, or opposite to the others) it is the weighted mean.

    Args:
        tensors: one a model, of one shape; any norms.
        weights: one a model, not negative; only the ratios count.

    Raises:
        ValueError: the weights add up to 0.
    """
    shares = normalised(weights)
    if not tensors[0].numel() or max(shares) == 1:
        return weighted_sum(tensors, shares)
    return weighted_sum(tensors, _coefficients(tensors, shares))


def _coefficients(tensors: Sequence[Tensor], shares: Sequence[float]) -> list[float]:
    """Return the factors of the spherical mean, which lies in the operands' span.

    There, a vector has as many coordinates as there are operands, so that the steps of the mean cost nothing.
    """
    vectors = torch.stack([tensor.flatten().to(torch.float64) for tensor in tensors], dim=1)
    coordinates = torch.linalg.qr(vectors, mode="r").R.cpu().T
    mean = spherical_mean(coordinates, coordinates.new_tensor([shares]))[0]
    norms = coordinates.norm(dim=1, keepdim=True).clamp(min=SMALLEST_NORM)
    factors = torch.linalg.lstsq((coordinates / norms).T, mean.unsqueeze(1), driver="gelsd").solution
    return [float(factor) for factor in (factors / norms).flatten()]
