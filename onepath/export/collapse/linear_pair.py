"""The collapse rule for two linear layers, or two convolutions, with nothing between them: one layer does both."""

from __future__ import annotations

from typing import cast

from torch import nn
from torch.nn.modules.conv import _ConvNd

from onepath.export.collapse.dataflow import Flow, flow_of
from onepath.export.collapse.products import costs, merged_layer, misfit, product
from onepath.export.collapse.refusals import other_class, refusal
from onepath.export.collapse.report import FoldedLayer, LeftLayer
from onepath.export.collapse.rules import Folding, across_layers
from onepath.export.collapse.storing import Layer, numbers, put, rounding

RULE = "linear_pair"
_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@across_layers(*_KINDS)
def linear_pair(module: nn.Module) -> Folding | None:
    """Fold a linear layer into the one that follows it, where the product costs no more than the two.

    Also two convolutions of which one has a kernel of 1, with equal groups. An identity, and a dropout that does not
    act, count as nothing between them.

    Requires: layers of torch's classes; the second is the only one to read the first's output; neither is shared, tied,
    parametrised or hooked; no border where a padding of one would meet the bias of the other.

    Ensures: the first is one new layer of torch's class, and in the place of the second is an `nn.Identity`. A
    bottleneck, whose product would cost more multiplications, is left, and so is a pair that is not exactly one layer.
    """
    if sum(isinstance(part, _KINDS) for part in module.modules()) < 2:
        return None
    flow = flow_of(module)
    if flow is None:
        return None
    layers, left, taken = list[FoldedLayer](), list[LeftLayer](), set[str]()
    for path in flow.paths(*_KINDS):
        source = flow.producer(path)
        if source is None or not isinstance(flow.module(source), _KINDS) or flow.takers(source) != [path]:
            continue
        if source in taken:
            continue  # its weight is another one now; the next round sees it
        reason = _reason(flow, source, path)
        if reason is not None:
            left.append(LeftLayer(path, RULE, f"with {source} before it, {reason}"))
            continue
        layers.append(_merged(module, source, path))
        taken.add(path)
    return Folding(module, tuple(layers), tuple(left)) if layers or left else None


def _reason(flow: Flow, first: str, second: str) -> str | None:
    """Return why two layers in a row stay two, in words; None if one layer does both."""
    for path in (first, second):
        reason = refusal(flow, path, _unfit)
        if reason is not None:
            return reason
    one, two = cast(Layer, flow.module(first)), cast(Layer, flow.module(second))
    if one.weight.dtype != two.weight.dtype or one.weight.device != two.weight.device:
        return "they are of two precisions or on two devices"
    return misfit(one, two) or _loss(one, two)


def _unfit(layer: nn.Module) -> str | None:
    dtype = cast(Layer, layer).weight.dtype
    return other_class(layer) or (None if dtype.is_floating_point else f"its weight is {dtype}")


def _loss(one: Layer, two: Layer) -> str | None:
    before, after = costs(one, two)
    if after > before:
        return f"one layer would take {after} multiplications for each position instead of {before}"
    return None if product(one, two).fits(one.weight.dtype) else "the product would not be finite in its precision"


def _merged(root: nn.Module, first: str, second: str) -> FoldedLayer:
    one, two = cast(Layer, root.get_submodule(first)), cast(Layer, root.get_submodule(second))
    exact = product(one, two)
    layer = merged_layer(one, two, exact)
    layer.requires_grad_(one.weight.requires_grad or two.weight.requires_grad)
    put(root, first, layer)
    put(root, second, nn.Identity())
    return FoldedLayer(
        first,
        RULE,
        f"{first} and {second} into one {_title(layer)}",
        parts=(second,),
        error=rounding(layer, exact),
        parameters_before=numbers(one, two),
        parameters_after=numbers(layer),
    )


def _title(layer: Layer) -> str:
    if isinstance(layer, _ConvNd):
        return f"{type(layer).__name__} {layer.in_channels} -> {layer.out_channels}"
    return f"Linear {layer.in_features} -> {layer.out_features}"
