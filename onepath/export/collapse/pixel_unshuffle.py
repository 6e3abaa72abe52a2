"""The collapse rule for pixel-unshuffle: what projects the unshuffled channels becomes one strided convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from onepath.export.collapse.dataflow import Flow, flow_of
from onepath.export.collapse.refusals import NO_SINGLE_TAKER, other_class, refusal
from onepath.export.collapse.report import FoldedLayer, LeftLayer
from onepath.export.collapse.rules import Folding, across_layers
from onepath.export.collapse.storing import numbers, put
from onepath.export.collapse.tracing import has_hooks
from onepath.merging.encoders.pixel_unshuffle import PixelUnshuffleProjector, StridedProjector

RULE = "pixel_unshuffle"


@across_layers(nn.PixelUnshuffle, PixelUnshuffleProjector)
def pixel_unshuffle(module: nn.Module) -> Folding | None:
    """Fold pixel-unshuffles below a module into the convolution or projection after them; its numbers change places.

    Requires: an `nn.PixelUnshuffle` whose output one `nn.Conv2d` alone reads, without dilation, whose groups do not
    part the channels that come of one; or a `PixelUnshuffleProjector`; none of them shared, tied, parametrised or
    hooked.

    Ensures: a plain `nn.Conv2d` of the kernel, stride and padding times the factor, and an `nn.Identity` in the place
    of the unshuffle; or a `StridedProjector`. Parameters keep their precision, device and `requires_grad`. Sides that
    the factor does not divide, which the unshuffle refuses, are cut off at their end. What cannot be folded is left.
    """
    flow = flow_of(module)
    if flow is None and type(module) is nn.PixelUnshuffle:
        return Folding(module, (), (LeftLayer("", RULE, "what is around it cannot be followed"),))
    if flow is None:
        return None
    projectors = [path for path, part in module.named_modules() if type(part) is PixelUnshuffleProjector]
    once = flow.paths(nn.PixelUnshuffle)
    folds = [_pair(module, flow, path) for path in once]
    folds += [LeftLayer(path, RULE, flow.obstacle(path) or "") for path in _called_otherwise(module, flow, once)]
    for path in projectors:
        entry = _projector(module, flow, path)
        folds.append(entry)
        if isinstance(entry, FoldedLayer):
            strided = _strided(cast(PixelUnshuffleProjector, flow.module(path)))
            module = _with(module, path, strided)
    layers = tuple(entry for entry in folds if isinstance(entry, FoldedLayer))
    left = tuple(entry for entry in folds if isinstance(entry, LeftLayer))
    return Folding(module, layers, left) if folds else None


def _called_otherwise(root: nn.Module, flow: Flow, once: Sequence[str]) -> list[str]:
    """Return the unshuffles that are not called once, but those in parts that are offered by themselves."""
    closed = tuple(f"{path}." for path in flow.containers())
    unshuffles = [path for path, part in root.named_modules() if type(part) is nn.PixelUnshuffle]
    return [path for path in unshuffles if path not in once and not path.startswith(closed)]


def _projector(root: nn.Module, flow: Flow, path: str) -> FoldedLayer | LeftLayer:
    projector = cast(PixelUnshuffleProjector, flow.module(path))
    inner = f"{path}.proj" if path else "proj"
    reason = "a hook sees its input or output" if has_hooks(projector) else flow.obstacle(inner)
    if reason is not None:
        return LeftLayer(path, RULE, reason)
    count = numbers(projector)
    return FoldedLayer(
        path,
        RULE,
        "pixel-unshuffle and projection into one strided convolution",
        error=0.0,
        parameters_before=count,
        parameters_after=count,
    )


def _strided(projector: PixelUnshuffleProjector) -> StridedProjector:
    linear, factor = projector.proj, projector.factor
    inputs = linear.in_features // factor**2
    with torch.device("meta"):  # draws no random numbers
        strided = StridedProjector(inputs, linear.out_features, factor=factor, grid=projector.grid)
    weight = linear.weight.detach().reshape(-1, inputs, factor, factor)
    strided.proj = _convolution(weight, linear, stride=(factor, factor), padding=(0, 0), groups=1)
    strided.training = projector.training
    return strided


def _pair(root: nn.Module, flow: Flow, path: str) -> FoldedLayer | LeftLayer:
    factor = cast(nn.PixelUnshuffle, flow.module(path)).downscale_factor
    takers = flow.takers(path) or []
    if len(takers) != 1:
        return LeftLayer(path, RULE, NO_SINGLE_TAKER)
    taker, layer = takers[0], flow.module(takers[0])
    reason = flow.obstacle(path)
    if reason is None and not isinstance(layer, nn.Conv2d):
        reason = f"{taker} is a {type(layer).__name__}"
    if reason is not None or not isinstance(layer, nn.Conv2d):
        return LeftLayer(path, RULE, reason or "")
    reason = refusal(flow, taker, lambda module: _unfit(cast(nn.Conv2d, module), factor), title="cannot take it")
    if reason is not None:
        return LeftLayer(path, RULE, reason)
    return _stored(root, path, taker, factor)


def _stored(root: nn.Module, path: str, taker: str, factor: int) -> FoldedLayer:
    layer = cast(nn.Conv2d, root.get_submodule(taker))
    outputs, _, rows, columns = layer.weight.shape
    blocks = layer.weight.detach().reshape(outputs, -1, factor, factor, rows, columns)
    weight = blocks.permute(0, 1, 4, 2, 5, 3).reshape(outputs, -1, rows * factor, columns * factor)
    convolution = _convolution(
        weight,
        layer,
        stride=(layer.stride[0] * factor, layer.stride[1] * factor),
        padding=_scaled_padding(layer, factor),
        groups=layer.groups,
    )
    put(root, taker, convolution)
    put(root, path, nn.Identity())
    return FoldedLayer(
        taker,
        RULE,
        f"pixel-unshuffle {path} into a strided convolution",
        parts=(path,),
        error=0.0,
        parameters_before=numbers(layer),
        parameters_after=numbers(convolution),
    )


def _convolution(
    weight: Tensor, like: nn.Linear | nn.Conv2d, *, stride: tuple[int, int], padding: tuple[int, int], groups: int
) -> nn.Conv2d:
    """Return a convolution of this weight with the layer's own bias and flags."""
    outputs, inputs, *kernel = weight.shape
    convolution = nn.Conv2d(
        inputs * groups,
        outputs,
        (kernel[0], kernel[1]),
        stride=stride,
        padding=padding,
        groups=groups,
        bias=like.bias is not None,
        device="meta",
    )
    values = weight.clone(memory_format=torch.contiguous_format)
    convolution.weight = nn.Parameter(values, requires_grad=like.weight.requires_grad)
    if like.bias is not None:
        convolution.bias = like.bias
    return convolution.train(like.training)


def _unfit(layer: nn.Conv2d, factor: int) -> str | None:
    reason = other_class(layer)
    if reason is not None:
        return reason
    if any(step != 1 for step in layer.dilation):
        return "it is dilated, and the pixels of one block would no longer be side by side"
    if (isinstance(layer.padding, str) and layer.padding != "valid") or layer.padding_mode != "zeros":
        return f"it pads in the mode {layer.padding_mode}, {layer.padding}"
    if layer.in_channels % (layer.groups * factor**2):
        return f"its {layer.groups} groups part the channels that come of one"
    return None


def _scaled_padding(layer: nn.Conv2d, factor: int) -> tuple[int, int]:
    if isinstance(layer.padding, str):  # "valid"
        return 0, 0
    return layer.padding[0] * factor, layer.padding[1] * factor


def _with(root: nn.Module, path: str, module: nn.Module) -> nn.Module:
    if not path:
        return module
    put(root, path, module)
    return root
