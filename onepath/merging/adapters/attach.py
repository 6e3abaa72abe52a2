"""Attaching low-rank adapters to the layers of a model, all of them or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.adapters.addresses import bias_of, links_of
from onepath.merging.adapters.checks import check_fit, check_untied
from onepath.merging.adapters.low_rank import LowRankAdapter
from onepath.merging.adapters.parametrization import Link, LowRankWeight, ShiftedBias
from onepath.merging.reparameterization.weights import WeightAddress, find_weight, own_class, parametrizations_of

Training = Literal["trainable", "frozen"]


def attach_adapters(
    model: nn.Module, adapters: Mapping[str, LowRankAdapter], *, training: Training = "trainable"
) -> None:
    """Attach adapters to layers of a model, in place; calling it again attaches further ones to the same layers.

    The layers stay the modules that they are, with their class's behaviour, hooks, flags, precision and device. A and B
    are copied to the weight's device, in its precision or in float32 where that is wider.

    Args:
        model: has linear layers, convolutions, or multi-head attention with packed projections.
        adapters: by path: of a layer, of its parameter, or of an `nn.MultiheadAttention`.
        training: whether the adapters take a gradient; the model's own parameters keep their flags.

    Raises:
        UnsupportedModuleError: there is nothing to attach, `training` is unknown, or an adapter does not fit its layer;
            the model is then as it was.

    >>> layer = nn.Linear(3, 4)
    >>> attach_adapters(nn.Sequential(layer), {"0": LowRankAdapter(torch.ones(2, 3), torch.ones(4, 2))})
    >>> torch.allclose(layer.weight - layer.parametrizations.weight.original, torch.tensor(2.0))
    True
    """
    if training not in get_args(Training):
        raise UnsupportedModuleError(f"training={training!r}", "it is unknown", "choose trainable or frozen")
    if not adapters:
        raise UnsupportedModuleError("no adapters", "there is nothing to attach", "name layers and their adapters")
    found = {name: find_weight(model, name, role="model") for name in adapters}
    for name, adapter in adapters.items():
        check_fit(found[name], adapter)
    check_untied(model, [*found.values(), *_biases(found, adapters)])
    links = [link for name, adapter in adapters.items() for link in _links(found[name], adapter, training)]
    for address, link in links:
        own_class(address.module)
        parametrize.register_parametrization(address.module, address.tensor_name, link)


def _biases(found: Mapping[str, WeightAddress], adapters: Mapping[str, LowRankAdapter]) -> list[WeightAddress]:
    return [bias_of(found[name]) for name, adapter in adapters.items() if adapter.bias is not None]


def _links(address: WeightAddress, adapter: LowRankAdapter, training: Training) -> list[tuple[WeightAddress, Link]]:
    module, weight, trainable = address.module, address.value, training == "trainable"
    order = _plain_order(module)
    own = LowRankAdapter(
        _stored(adapter.a, weight),
        _stored(adapter.b, weight),
        alpha=adapter.alpha,
        rank_stabilized=adapter.rank_stabilized,
        dropout=adapter.dropout,
    )
    first = LowRankWeight(own, trainable=trainable, plain_order=order, axis=address.output_axis)
    links: list[tuple[WeightAddress, Link]] = [(address, first.train(module.training))]
    if adapter.bias is not None:
        shift = ShiftedBias(_stored(adapter.bias, weight), trainable=trainable, plain_order=order)
        links.append((bias_of(address), shift.train(module.training)))
    return links


def _stored(tensor: Tensor, weight: Tensor) -> Tensor:
    wide = torch.promote_types(weight.dtype, torch.float32)
    moved = tensor.detach().to(device=weight.device, dtype=wide)
    return moved.clone(memory_format=torch.contiguous_format)


def _plain_order(module: nn.Module) -> tuple[str, ...]:
    links = [link for name in parametrizations_of(module) for link in links_of(module, name) or ()]
    return links[0].plain_order if links else tuple(module._parameters)
