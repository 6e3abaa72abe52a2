"""What a batch normalization does in eval mode, and a layer's weight and bias with it folded in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from onepath.export.collapse.storing import Exact, Layer, wide, wide_bias


@dataclass(frozen=True)
class Affine:
    """What a batch normalization does in eval mode: `scale * x + shift` for each channel, float64 `(channels,)`."""

    scale: Tensor
    shift: Tensor


def affine_from_norm(norm: _BatchNorm) -> Affine:
    """Return what a batch normalization with running statistics does in eval mode."""
    mean, variance = wide(cast(Tensor, norm.running_mean)), wide(cast(Tensor, norm.running_var))
    scale = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * wide(norm.weight)
    shift = -mean * scale
    return Affine(scale, shift if norm.bias is None else shift + wide(norm.bias))


def after_layer(layer: Layer, affine: Affine) -> Exact:
    """Return the weight and bias of a layer that is followed by the affine map of its output channels."""
    weight, bias = wide(layer.weight), wide_bias(layer)
    if isinstance(layer, _ConvTransposeNd):  # weight (inputs, outputs / groups, …)
        groups = weight.reshape(layer.groups, -1, *weight.shape[1:])
        scale = affine.scale.reshape(layer.groups, 1, -1, *[1] * (weight.ndim - 2))
        scaled = (groups * scale).flatten(0, 1)
    else:
        scaled = weight * affine.scale.reshape(-1, *[1] * (weight.ndim - 1))
    return Exact(scaled, affine.shift if bias is None else bias * affine.scale + affine.shift)


def before_layer(layer: Layer, affine: Affine) -> Exact:
    """Return the weight and bias of a layer that comes after the affine map of its input channels."""
    weight, bias = wide(layer.weight), wide_bias(layer)
    groups = layer.groups if isinstance(layer, _ConvNd) else 1
    grouped = weight.reshape(groups, -1, *weight.shape[1:])  # (groups, outputs / groups, inputs / groups, …)
    shape = (groups, 1, -1, *[1] * (weight.ndim - 2))
    shift = (grouped * affine.shift.reshape(shape)).flatten(2).sum(2).flatten()
    scaled = (grouped * affine.scale.reshape(shape)).flatten(0, 1)
    return Exact(scaled, shift if bias is None else bias + shift)


def pads_with_zeros(layer: _ConvNd) -> bool:
    """Return whether a convolution puts zeros around its input."""
    if layer.padding_mode != "zeros" or layer.padding == "valid":
        return False
    if isinstance(layer.padding, str):  # "same"
        return any(size > 1 for size in layer.kernel_size)
    return any(layer.padding)
