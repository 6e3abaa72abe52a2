"""The collapse rule for pixel normalisation: scale, mean and std become part of the layer that takes the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from onepath.export.collapse.affine import Affine, before_layer, pads_with_zeros
from onepath.export.collapse.dataflow import Flow, flow_of
from onepath.export.collapse.refusals import NO_SINGLE_TAKER, refusal
from onepath.export.collapse.report import FoldedLayer, LeftLayer
from onepath.export.collapse.rules import Folding, across_layers
from onepath.export.collapse.storing import Exact, Layer, channels_in, numbers, put, relative, store, wide
from onepath.merging.encoders.pixels import CastInput, PixelNormalization

RULE = "pixel_normalization"
_TORCHVISION = {"torchvision.transforms.transforms.Normalize", "torchvision.transforms.v2._misc.Normalize"}
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@across_layers(*_LAYERS)
def pixel_normalization(module: nn.Module) -> Folding | None:
    """Fold pixel normalisations below a module into the layer after them: W' = W·s/σ of each channel, b' = b − Σ W·μ/σ.

    Requires: a `PixelNormalization`, or a `Normalize` of torchvision that is not in place; one layer that alone reads
    its output: a convolution that pads with no zeros, or a linear layer, on flattened pixels or with one mean and one
    std for all channels; none of them shared, tied, parametrised or hooked. Zeros around normalised pixels are the
    mean's, and around raw ones black: at the border a padding convolution would give something else.

    Ensures: the layer takes pixels as they are, and keeps its class; it gets a bias if it had none. In the place of the
    normalisation is a `CastInput`, which the state dict names: the weights must not be loaded into a model that still
    normalises. One that cannot be folded exactly is left, and one whose weights would lose digits that their precision
    has, as fp16 does of small ones.
    """
    kinds = tuple(dict.fromkeys(type(part) for part in module.modules() if _is_normalization(part)))
    if not kinds:
        return None
    flow = flow_of(module, kinds)
    folds = [_fold(module, flow, path) for path in flow.paths(*kinds)] if flow is not None else []
    folds += _missed(module, flow, kinds)
    layers = tuple(entry for entry in folds if isinstance(entry, FoldedLayer))
    left = tuple(entry for entry in folds if isinstance(entry, LeftLayer))
    return Folding(module, layers, left) if folds else None


def _fold(root: nn.Module, flow: Flow, path: str) -> FoldedLayer | LeftLayer:
    norm = flow.module(path)
    reason = flow.obstacle(path) or _unfit(norm)
    taker, is_flattened = _taker(flow, path)
    layer = flow.module(taker) if taker is not None else None
    if reason is not None or taker is None or layer is None:
        return LeftLayer(path, RULE, reason or NO_SINGLE_TAKER)
    reason = refusal(flow, taker, _unfit_layer, title="cannot take it")
    if reason is not None:
        return LeftLayer(path, RULE, reason)
    affine = _affine(norm, layer, is_flattened)
    if affine is None:
        return LeftLayer(path, RULE, f"its channels are not known to be those that {taker} takes")
    exact = before_layer(cast(Layer, layer), affine)
    loss = _loss(exact, cast(Layer, layer).weight.dtype)
    if loss is not None:
        return LeftLayer(path, RULE, f"the weight of {taker} {loss}")
    return _stored(root, path, taker, exact)


def _stored(root: nn.Module, path: str, taker: str, exact: Exact) -> FoldedLayer:
    norm, layer = root.get_submodule(path), cast(Layer, root.get_submodule(taker))
    before = numbers(norm, layer)
    stored = store(layer, exact)
    put(root, path, CastInput(layer.weight, stored=True))
    return FoldedLayer(
        taker,
        RULE,
        f"pixel normalization {path} into the weight and bias",
        stored.relative_change,
        parts=(path,),
        error=stored.error,
        parameters_before=before,
        parameters_after=numbers(layer),
    )


def _missed(root: nn.Module, flow: Flow | None, kinds: tuple[type, ...]) -> list[LeftLayer]:
    """Return the normalisations that are not called once, but those in parts that are offered by themselves."""
    found = flow.paths(*kinds) if flow is not None else []
    closed = flow.containers() if flow is not None else [name for name, _ in root.named_children()]
    offered = [path for path in closed if any(isinstance(part, _LAYERS) for part in root.get_submodule(path).modules())]
    left = []
    for path, part in root.named_modules():
        if path in found or not _is_normalization(part) or _is_in(path, offered):
            continue
        reason = None if flow is None or _is_in(path, closed) else flow.obstacle(path)
        left.append(LeftLayer(path, RULE, reason or "what is around it cannot be followed"))
    return left


def _is_in(path: str, parts: Sequence[str]) -> bool:
    return any(path.startswith(f"{part}.") for part in parts)


def _loss(exact: Exact, dtype: torch.dtype) -> str | None:
    """Return what is lost in a precision, in words; None where it is no more than its rounding."""
    if not exact.fits(dtype):
        return "would not be finite in its precision"
    if relative(wide(exact.weight.to(dtype)) - exact.weight, exact.weight) > torch.finfo(dtype).eps:
        return f"would lose digits, as {str(dtype).removeprefix('torch.')} has fewer for numbers that small"
    return None


def _taker(flow: Flow, path: str) -> tuple[str | None, bool]:
    """Return the one layer that reads a normalisation's output, and whether it reads it flattened."""
    takers = flow.takers(path) or []
    if len(takers) != 1:
        return None, False
    module = flow.module(takers[0])
    if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1):
        after = flow.takers(takers[0]) or []
        return (after[0] if len(after) == 1 and flow.is_private(takers[0]) else None), True
    return takers[0], False


def _affine(norm: Any, layer: nn.Module, is_flattened: bool) -> Affine | None:  # Any: also a class of torchvision
    """Return what the normalisation does to each channel, or feature, that the layer takes; None where unknown."""
    mean, std = _levels(norm.mean), _levels(norm.std)
    scale = norm.scale if isinstance(norm, PixelNormalization) else 1.0
    channels, width = mean.numel(), channels_in(layer)
    if len(set(zip(mean.tolist(), std.tolist(), strict=True))) == 1:
        mean, std = mean[:1].expand(width), std[:1].expand(width)
    elif isinstance(layer, nn.Linear):
        known = is_flattened and isinstance(norm, PixelNormalization) and width % channels == 0
        if not known:
            return None
        mean, std = (levels.repeat_interleave(width // channels) for levels in (mean, std))
    elif (
        is_flattened or channels != width or not (isinstance(norm, PixelNormalization) or isinstance(layer, nn.Conv2d))
    ):
        return None
    device = cast(Layer, layer).weight.device
    return Affine((scale / std).to(device), (-mean / std).to(device))


def _levels(levels: Any) -> Tensor:  # Any: a sequence of numbers or a tensor
    return torch.as_tensor(levels, dtype=torch.float64, device="cpu").flatten()


def _unfit(norm: Any) -> str | None:  # Any: also a class of torchvision
    if isinstance(norm, PixelNormalization):
        return None
    if norm.inplace:
        return "it changes its input in place"
    mean, std = _levels(norm.mean), _levels(norm.std)
    return None if mean.shape == std.shape and bool((std > 0).all()) else "its means and stds are not those of channels"


def _unfit_layer(layer: nn.Module) -> str | None:
    if not isinstance(layer, _LAYERS):
        return f"it is a {type(layer).__name__}"
    if isinstance(layer, _ConvNd) and pads_with_zeros(layer):
        return "it pads with zeros, which are the mean's where the pixels are normalised, and black where they are not"
    if is_lazy(layer.weight) or layer.weight.is_meta:
        return "its weight has no data"
    if not layer.weight.is_floating_point():
        return f"its weight is {layer.weight.dtype}"
    return None


def _is_normalization(module: nn.Module) -> bool:
    kind = type(module)
    return kind is PixelNormalization or f"{kind.__module__}.{kind.__qualname__}" in _TORCHVISION
