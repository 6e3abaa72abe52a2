"""Adapters to start a training from: they add nothing at first."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from onepath.merging.adapters.checks import check_dense, check_kind
from onepath.merging.adapters.low_rank import LowRankAdapter
from onepath.merging.encoders.shapes import check_sizes
from onepath.merging.reparameterization.weights import find_weight


def new_adapters(
    model: nn.Module,
    layers: Sequence[str],
    *,
    rank: int,
    alpha: float | None = None,
    rank_stabilized: bool = False,
    dropout: float = 0.0,
    generator: torch.Generator | None = None,
) -> dict[str, LowRankAdapter]:
    """Return an adapter for each layer, with A drawn as a linear layer's weight and B zero, for `attach_adapters`.

    Args:
        model: that has the layers.
        layers: their paths.
        rank: of each adapter.
        alpha: α of the scale; see `LowRankAdapter`.
        rank_stabilized: see `LowRankAdapter`.
        dropout: see `LowRankAdapter`.
        generator: of the random numbers.

    Raises:
        UnsupportedModuleError: a layer is not in the model, takes no adapter or has no weights yet, or the sizes make
            none.

    >>> model = nn.Sequential(nn.Linear(3, 4))
    >>> new_adapters(model, ["0"], rank=2)["0"].update().abs().max().item()
    0.0
    """
    check_sizes("new adapters", rank=rank)
    found = {}
    for layer in layers:
        address = find_weight(model, layer, role="model")
        check_kind(address)
        check_dense(address.layer, address.value)
        outputs, *inputs = tuple(address.value.shape)[:: -1 if address.output_axis else 1]
        a, b = torch.empty(rank, *inputs), torch.zeros(outputs, rank)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
        found[layer] = LowRankAdapter(a, b, alpha=alpha, rank_stabilized=rank_stabilized, dropout=dropout)
    return found
