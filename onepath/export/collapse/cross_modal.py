"""The collapse rule for cross-modal weights: Ŵ = W + Σ λ·W' becomes the layer's plain weight."""

from __future__ import annotations

from torch import Tensor, nn

from onepath.export.collapse.report import FoldedLayer
from onepath.export.collapse.rules import Folding
from onepath.export.collapse.storing import numbers, relative, wide
from onepath.merging.reparameterization.folding import FoldedWeight, attached_weights, collapse_in_place
from onepath.merging.reparameterization.rows import add_to_rows
from onepath.merging.reparameterization.weights import WeightAddress, cross_modal_chain, parametrizations_of


def cross_modal(module: nn.Module) -> Folding | None:
    """Fold all re-parameterised weights of a module and its sub-modules.

    Requires: no other parametrisation on the same weights, and finite values.

    Ensures: plain classes, with the keys, order, shapes and precisions that they had; weights equal bit for bit, in
    float32 and wider, to those that the attached form computed.
    """
    attached = attached_weights(module)
    if not attached:
        return None
    exact = {address.path: _exact(address) for address in attached}
    before = {address.path: numbers(parametrizations_of(address.module)[address.tensor_name]) for address in attached}
    entries = collapse_in_place(module)
    stored = {address.path: address.value for address in attached}
    return Folding(module, tuple(_layer(entry, exact, before, stored) for entry in entries))


def _layer(
    entry: FoldedWeight, exact: dict[str, Tensor], before: dict[str, int], stored: dict[str, Tensor]
) -> FoldedLayer:
    meant, weight = exact[entry.weight], stored[entry.weight]
    return FoldedLayer(
        entry.weight,
        "cross_modal",
        _title(entry),
        entry.relative_change,
        entry.scales,
        auxiliaries=entry.auxiliaries,
        error=relative(wide(weight) - meant, meant),
        parameters_before=before[entry.weight],
        parameters_after=weight.numel(),
    )


def _title(entry: FoldedWeight) -> str:
    names = dict.fromkeys(name for name in entry.auxiliaries if name is not None)
    of = f" of {' and '.join(names)}" if names else ""
    several = len(entry.scales) > 1
    return f"{len(entry.scales)} {'auxiliaries' if several else 'auxiliary'}{of} into one weight"


def _exact(address: WeightAddress) -> Tensor:
    """Return the sum in float64."""
    total = wide(parametrizations_of(address.module)[address.tensor_name].original).clone()
    for link in cross_modal_chain(address.module, address.tensor_name) or ():
        total = add_to_rows(total, wide(link.scale) * wide(link.auxiliary), link.rows, axis=link.axis)
    return total
