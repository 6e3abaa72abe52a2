"""One adapter of several for the same layer: the mean of their factors, or of their products."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.adapters.low_rank import LowRankAdapter, wide_precision


def average_factors(adapters: Sequence[LowRankAdapter]) -> LowRankAdapter:
    """Return the adapter whose A, B and δb are each the mean of the adapters' own, as SEMI publishes it.

    Its ΔW is the product of two means, which is not the mean of the products: see `average_updates`.

    Args:
        adapters: of one layer, of one rank and scale.

    Raises:
        UnsupportedModuleError: there is none, or they differ in shape, rank, scale, or in having a bias.

    >>> ones = LowRankAdapter(torch.ones(1, 1), torch.ones(1, 1))
    >>> threes = LowRankAdapter(3 * torch.ones(1, 1), 3 * torch.ones(1, 1))
    >>> average_factors([ones, threes]).update().item(), average_updates([ones, threes]).update().item()
    (4.0, 5.0)
    """
    first = _alike(adapters)
    if len({(adapter.rank, adapter.scale) for adapter in adapters}) > 1:
        raise UnsupportedModuleError(
            "these adapters", "their ranks or scales differ", "average their updates with average_updates"
        )
    return LowRankAdapter(
        _mean([adapter.a for adapter in adapters]),
        _mean([adapter.b for adapter in adapters]),
        _mean_bias(adapters),
        alpha=first.alpha,
        rank_stabilized=first.rank_stabilized,
        dropout=first.dropout,
    )


def average_updates(adapters: Sequence[LowRankAdapter]) -> LowRankAdapter:
    """Return the adapter whose ΔW is the mean of the adapters' own, exactly; its rank is the sum of theirs.

    Args:
        adapters: of one layer, of any ranks and scales.

    Raises:
        UnsupportedModuleError: there is none, or they differ in shape, or in having a bias.
    """
    first = _alike(adapters)
    wide = wide_precision(*(tensor for adapter in adapters for tensor in (adapter.a, adapter.b)))
    scaled = [adapter.b.to(wide) * (adapter.scale / len(adapters)) for adapter in adapters]
    return LowRankAdapter(
        torch.cat([adapter.a.to(wide) for adapter in adapters]),
        torch.cat(scaled, dim=1),
        _mean_bias(adapters),
        dropout=first.dropout,
    )


def _alike(adapters: Sequence[LowRankAdapter]) -> LowRankAdapter:
    if not adapters:
        raise UnsupportedModuleError("no adapters", "there is nothing to average", "give at least one")
    first = adapters[0]
    for adapter in adapters[1:]:
        if adapter.shape != first.shape:
            raise UnsupportedModuleError(
                "these adapters",
                f"one is for a weight of {first.shape} and one for {adapter.shape}",
                "average adapters of the same layer",
            )
        if (adapter.bias is None) != (first.bias is None):
            raise UnsupportedModuleError("these adapters", "some have a bias and some none", "give all of them one")
    return first


def _mean_bias(adapters: Sequence[LowRankAdapter]) -> Tensor | None:
    biases = [adapter.bias for adapter in adapters if adapter.bias is not None]
    return _mean(biases) if biases else None


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    wide = wide_precision(*tensors)
    return torch.stack([tensor.to(wide) for tensor in tensors]).mean(0)
