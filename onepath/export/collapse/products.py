"""Two layers in a row as one: when that is exact, its weight and bias, and what it costs."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from onepath.export.collapse.affine import pads_with_zeros
from onepath.export.collapse.storing import Exact, Layer, channels_in, channels_out, store, wide, wide_bias


def misfit(first: Layer, second: Layer) -> str | None:
    """Return why two layers in a row are no single layer of their kind, in words; None if they are one exactly."""
    if isinstance(first, nn.Linear) or isinstance(second, nn.Linear):
        same = isinstance(first, nn.Linear) and isinstance(second, nn.Linear)
        return None if same else f"a {type(first).__name__} and a {type(second).__name__} are not of one kind"
    if len(first.kernel_size) != len(second.kernel_size):
        return f"a {type(first).__name__} and a {type(second).__name__} are not of one kind"
    if first.groups != second.groups:
        return f"they have {first.groups} and {second.groups} groups"
    if is_pointwise(second):
        return _misfit_after(first, second)
    if is_pointwise(first):
        return _misfit_before(first, second)
    return f"their kernels are {tuple(first.kernel_size)} and {tuple(second.kernel_size)}, and none of them is 1"


def is_pointwise(layer: _ConvNd) -> bool:
    """Return whether a convolution looks at one position at a time."""
    return all(size == 1 for size in layer.kernel_size)


def product(first: Layer, second: Layer) -> Exact:
    """Return the weight and bias of the layer that equals the first and then the second, without `misfit`."""
    groups = 1 if isinstance(first, nn.Linear) else first.groups
    one = _by_group(first, groups)  # (groups, middle, inputs, positions of the kernel)
    two = _by_group(second, groups)  # (groups, outputs, middle, positions of the kernel)
    weight = torch.einsum("gomp,gmiq->goipq", two, one).flatten(3)
    kernel = (first if two.shape[-1] == 1 else second).weight.shape[2:]
    bias = _bias(first, second, two)
    return Exact(weight.reshape(-1, weight.shape[2], *kernel), bias)


def costs(first: Layer, second: Layer) -> tuple[int, int]:
    """Return the multiplications for one position of the result: of the two layers, and of the one."""
    groups = 1 if isinstance(first, nn.Linear) else first.groups
    inputs, middle, outputs = channels_in(first), channels_out(first), channels_out(second)
    sizes = [1 if isinstance(layer, nn.Linear) else prod(layer.kernel_size) for layer in (first, second)]
    visits = 1 if isinstance(second, nn.Linear) else prod(second.stride)  # positions of the first that are skipped
    before = inputs * middle * sizes[0] * visits + middle * outputs * sizes[1]
    return before // groups, inputs * outputs * prod(sizes) // groups


def merged_layer(first: Layer, second: Layer, exact: Exact) -> Layer:
    """Return a new layer of torch's class that holds the weight and bias of two layers in a row."""
    if isinstance(first, nn.Linear) or isinstance(second, nn.Linear):
        return like_layer(first, exact)
    wider, other = (first, second) if is_pointwise(second) else (second, first)
    return like_layer(wider, exact, stride=tuple(a * b for a, b in zip(wider.stride, other.stride, strict=True)))


def like_layer(layer: Layer, exact: Exact, *, stride: tuple[int, ...] | None = None) -> Layer:
    """Return a new layer of torch's class that holds a weight and bias, with the kernel and settings of a layer.

    Args:
        layer: whose kernel, padding, dilation, groups, precision and device it has.
        exact: its weight and bias.
        stride: instead of the layer's.
    """
    made: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype, "bias": exact.bias is not None}
    outputs, inputs = exact.weight.shape[:2]
    if isinstance(layer, nn.Linear):
        new: Layer = nn.Linear(inputs, outputs, **made)
    else:
        kind: Any = next(kind for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d) if isinstance(layer, kind))
        settings = (layer.kernel_size, stride or layer.stride, layer.padding, layer.dilation, layer.groups)
        new = kind(inputs * layer.groups, outputs, *settings, padding_mode=layer.padding_mode, **made)
    store(new, exact)
    return new


def _misfit_after(first: _ConvNd, second: _ConvNd) -> str | None:
    if pads(second):
        return "the second pads the output of the first"
    if isinstance(first.padding, str) and any(stride > 1 for stride in second.stride):
        return f"the first has padding={first.padding!r}, and the second a stride"
    return None


def _misfit_before(first: _ConvNd, second: _ConvNd) -> str | None:
    if pads(first):
        return "the first pads its input with what the second would have to see"
    if any(stride > 1 for stride in first.stride):
        return "the first has a stride, and the second a kernel"
    bias = first.bias
    if bias is not None and bool(torch.any(bias != 0)) and pads_with_zeros(second):
        return "the second pads with zeros, where the bias of the first would have to be"
    return None


def pads(layer: _ConvNd) -> bool:
    """Return whether a convolution puts anything around its input."""
    if isinstance(layer.padding, str):
        return layer.padding == "same" and not is_pointwise(layer)
    return any(layer.padding)


def _by_group(layer: Layer, groups: int) -> Tensor:
    weight = wide(layer.weight).reshape(*layer.weight.shape[:2], -1)
    return weight.reshape(groups, -1, *weight.shape[1:])


def _bias(first: Layer, second: Layer, two: Tensor) -> Tensor | None:
    before, after = wide_bias(first), wide_bias(second)
    if before is None:
        return after
    through = torch.einsum("gomp,gm->go", two, before.reshape(two.shape[0], -1)).flatten()
    return through if after is None else through + after
