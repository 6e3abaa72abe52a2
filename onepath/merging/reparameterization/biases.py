"""Biases that come along with their weights: b̂ = b + Σ λ·b', by the weights' own λ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.plan import Pair
from onepath.merging.reparameterization.weights import WeightAddress, weights_of

_BIASES = {"weight": "bias", "in_proj_weight": "in_proj_bias"}


def with_biases(pairs: Sequence[Pair], target: nn.Module, auxiliary: nn.Module) -> list[Pair]:
    """Return the pairs, each followed by that of the two layers' biases; layers of which neither has one have none.

    Raises:
        UnsupportedModuleError: only one of two layers has a bias.
    """
    mine, theirs = weights_of(target), weights_of(auxiliary)
    return [entry for pair in pairs for entry in (pair, *_bias_of(pair, mine, theirs))]


def _bias_of(pair: Pair, mine: Mapping[str, WeightAddress], theirs: Mapping[str, WeightAddress]) -> Iterator[Pair]:
    left, right = _bias_path(pair.target), _bias_path(pair.auxiliary)
    if not left or not right or (left not in mine and right not in theirs):
        return
    for path, known, role in ((left, mine, "target"), (right, theirs, "auxiliary")):
        if path not in known:
            raise UnsupportedModuleError(
                path, f"the {role}'s layer has no bias and the other model's has one", "leave biases=True out"
            )
    size = pair.shape[-1] if mine[pair.target].output_axis else pair.shape[0]
    yield replace(pair, target=left, auxiliary=right, shape=(size,), transposed=False, scale=pair.scale_name)


def _bias_path(weight: str) -> str | None:
    layer, _, name = weight.rpartition(".")
    bias = _BIASES.get(name)
    return bias and (f"{layer}.{bias}" if layer else bias)
