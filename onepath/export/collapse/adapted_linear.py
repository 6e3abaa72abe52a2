"""The collapse rule for low-rank and generated adapters: W' = W + Σ scale·B·A and b' = b + Σ δb."""

from __future__ import annotations

from math import isfinite

from torch import nn

from onepath.export.collapse.report import FoldedLayer
from onepath.export.collapse.rules import Folding
from onepath.merging.adapters.addresses import adapted_parameters
from onepath.merging.adapters.folding import FoldedAdapters, fold_adapters


def adapted_linear(module: nn.Module) -> Folding | None:
    """Fold all adapters of a module and its sub-modules into the layers that they adapt.

    Requires: adapters of `onepath.merging.adapters` that do not drop inputs in training mode, no other parametrisation
    on the same parameters, no tied or quantised parameter, and values that are finite in the layer's precision.

    Ensures: plain classes, with the keys, order, shapes and precisions that they had; weights equal bit for bit, in
    float32 and wider, to those that the attached form computed; sums made in at least float32 and rounded once.
    """
    if not adapted_parameters(module):
        return None
    layers = tuple(
        FoldedLayer(
            entry.parameter,
            "adapted_linear",
            _title(entry),
            entry.relative_change if isfinite(entry.relative_change) else None,  # of zeros
            entry.scales,
            error=entry.error,
            parameters_before=entry.numbers_before,
            parameters_after=entry.numbers_after,
        )
        for entry in fold_adapters(module)
    )
    return Folding(module, layers)


def _title(entry: FoldedAdapters) -> str:
    if not entry.ranks:
        return "the adapters' shift into the bias"
    several, ranks = len(entry.ranks) > 1, " and ".join(str(rank) for rank in entry.ranks)
    return f"{len(entry.ranks)} low-rank {'adapters' if several else 'adapter'} of rank {ranks} into one weight"
