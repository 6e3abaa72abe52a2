"""The collapse rule for cross-modal weights: Ŵ = W + Σ λ·W' becomes the layer's plain weight."""

from __future__ import annotations

from torch import nn

from onepath.export.collapse.report import FoldedLayer
from onepath.export.collapse.rules import Folding
from onepath.merging.reparameterization.folding import attached_weights, collapse_in_place


def cross_modal(module: nn.Module) -> Folding | None:
    """Fold all re-parameterised weights of a module and its sub-modules.

    Requires: no other parametrisation on the same weights, and finite values.

    Ensures: plain classes, with the keys, order, shapes and precisions that they had; weights equal bit for bit, in
    float32 and wider, to those that the attached form computed.
    """
    if not attached_weights(module):
        return None
    layers = tuple(
        FoldedLayer(
            entry.weight,
            "cross_modal",
            f"{len(entry.scales)} {'auxiliary' if len(entry.scales) == 1 else 'auxiliaries'} into one weight",
            entry.relative_change,
            entry.scales,
        )
        for entry in collapse_in_place(module)
    )
    return Folding(module, layers)
