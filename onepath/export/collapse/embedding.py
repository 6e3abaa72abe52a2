"""The sum of parallel branches as one weight: kernels put into the largest one, an identity as a one in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from onepath.export.collapse.affine import Affine, affine_from_norm, after_layer
from onepath.export.collapse.products import pads
from onepath.export.collapse.storing import Exact, Layer, channels_in, channels_out, wide, wide_bias


@dataclass(frozen=True)
class Branch:
    """A term of a sum: a layer, or None for the input itself, and the batch normalizations after it.

    Attributes:
        title: what to call it in a message.
    """

    title: str
    layer: Layer | None
    norms: tuple[_BatchNorm, ...] = ()


@dataclass(frozen=True)
class _Axis:
    """What a kernel sees along one axis: output i looks at the inputs `i * stride - padding + tap * dilation`."""

    size: int
    stride: int
    padding: int
    dilation: int

    @property
    def reach(self) -> int:
        """By how many positions the output is longer than the input, at stride 1."""
        return 2 * self.padding - self.dilation * (self.size - 1)

    def taps_within(self, wider: _Axis) -> list[int] | None:
        """Return which taps of a wider kernel look at the same positions as this one's; None if not all do."""
        offsets = [wider.padding - self.padding + tap * self.dilation for tap in range(self.size)]
        taps = [offset // wider.dilation for offset in offsets if offset % wider.dilation == 0]
        fits = len(taps) == self.size and self.reach == wider.reach and self.stride == wider.stride
        return taps if fits and taps[0] >= 0 and taps[-1] < wider.size else None


def widest(branches: Sequence[Branch]) -> Layer:
    """Return the layer with the largest kernel, the first of them; a linear layer has none."""
    layers = [branch.layer for branch in branches if branch.layer is not None]
    return max(layers, key=lambda layer: prod(layer.kernel_size) if isinstance(layer, _ConvNd) else 1)


def misfit(branches: Sequence[Branch]) -> str | None:
    """Return why branches are not one layer, in words; None if they are one exactly."""
    main = widest(branches)
    if isinstance(main, _ConvTransposeNd):
        return "a transposed convolution is among them"
    reasons = (_misfit_with(main, branch) for branch in branches)
    return next((reason for reason in reasons if reason is not None), None)


def summed(branches: Sequence[Branch]) -> Exact:
    """Return the weight and bias of the one layer, of the shapes of the `widest`, for branches without a `misfit`."""
    main = widest(branches)
    parts = [_exact(main, branch) for branch in branches]
    weight = torch.stack([part.weight for part in parts]).sum(0)
    biases = [part.bias for part in parts if part.bias is not None]
    return Exact(weight, torch.stack(biases).sum(0) if biases else None)


def _misfit_with(main: Layer, branch: Branch) -> str | None:
    layer, channels = branch.layer, channels_out(main)
    if any(norm.num_features != channels for norm in branch.norms):
        return f"{branch.title} has other channels than {channels}"
    if layer is None and channels_in(main) != channels:
        return f"the input has {channels_in(main)} channels, and the sum has {channels}"
    if layer is not None and _other_kind(main, layer):
        return f"{branch.title} is a {_kind(layer)}, and another is a {_kind(main)}"
    return _misplaced(main, branch) if isinstance(main, _ConvNd) else None


def _other_kind(main: Layer, layer: Layer) -> bool:
    dimensions = layer.weight.ndim != main.weight.ndim or isinstance(layer, _ConvTransposeNd)
    return dimensions or layer.weight.shape[0] != main.weight.shape[0] or _kind(layer) != _kind(main)


def _kind(layer: Layer) -> str:
    name = "Linear" if isinstance(layer, nn.Linear) else type(layer).__name__
    place = f" in {layer.weight.dtype} on {layer.weight.device}"
    return f"{name} of {channels_in(layer)} to {channels_out(layer)} channels{place}"


def _misplaced(main: _ConvNd, branch: Branch) -> str | None:
    layer = cast("_ConvNd | None", branch.layer)
    if layer is not None and layer.groups != main.groups:
        return f"{branch.title} has {layer.groups} groups, and another has {main.groups}"
    if layer is not None and layer.padding_mode != main.padding_mode and pads(layer):
        return f"{branch.title} pads by {layer.padding_mode}, and another by {main.padding_mode}"
    return None if _taps(main, layer) is not None else f"{branch.title} looks at other positions than another"


def _taps(main: _ConvNd, layer: _ConvNd | None) -> list[list[int]] | None:
    """Return, axis by axis, which taps of the main kernel a layer's, or the identity's, are; None if they are none."""
    wide_axes = _axes(main)
    axes = [_Axis(1, 1, 0, 1)] * len(main.kernel_size) if layer is None else _axes(layer)
    if axes is None or wide_axes is None:
        return None
    found = [axis.taps_within(wider) for axis, wider in zip(axes, wide_axes, strict=True)]
    taps = [tap for tap in found if tap is not None]
    return taps if len(taps) == len(found) else None


def _axes(layer: _ConvNd) -> list[_Axis] | None:
    spans = [dilation * (size - 1) for size, dilation in zip(layer.kernel_size, layer.dilation, strict=True)]
    if layer.padding == "same" and any(span % 2 for span in spans):
        return None  # more on one side than on the other
    padding = [span // 2 for span in spans] if layer.padding == "same" else layer.padding
    if isinstance(padding, str):
        padding = [0] * len(spans)
    return [_Axis(*axis) for axis in zip(layer.kernel_size, layer.stride, padding, layer.dilation, strict=True)]


def _exact(main: Layer, branch: Branch) -> Exact:
    affine = _affine(branch.norms, channels_out(main), main.weight)
    if branch.layer is None:
        own = torch.diag(affine.scale) if isinstance(main, nn.Linear) else _identity(main, affine.scale)
        return Exact(own, affine.shift if branch.norms else None)
    if not branch.norms:
        exact = Exact(wide(branch.layer.weight), wide_bias(branch.layer))
    else:
        exact = after_layer(branch.layer, affine)
    if isinstance(main, nn.Linear):
        return exact
    return Exact(_placed(main, cast(_ConvNd, branch.layer), exact.weight), exact.bias)


def _affine(norms: Sequence[_BatchNorm], channels: int, like: Tensor) -> Affine:
    total = Affine(wide(like.new_ones(channels)), wide(like.new_zeros(channels)))
    for norm in norms:
        last = affine_from_norm(norm)
        total = Affine(total.scale * last.scale, total.shift * last.scale + last.shift)
    return total


def _identity(main: _ConvNd, scale: Tensor) -> Tensor:
    """Return the kernel of the main layer's shape that multiplies each channel by its scale."""
    per_group = main.in_channels // main.groups
    outputs = torch.arange(main.out_channels, device=scale.device)
    weight = torch.zeros(main.weight.shape[:2], dtype=scale.dtype, device=scale.device)
    weight[outputs, outputs % per_group] = scale
    return _placed(main, None, weight.reshape(*weight.shape, *[1] * len(main.kernel_size)))


def _placed(main: _ConvNd, layer: _ConvNd | None, weight: Tensor) -> Tensor:
    """Return a kernel with zeros around it and between its taps, of the main layer's shape."""
    placed = weight.new_zeros(main.weight.shape)
    taps = [torch.tensor(axis, device=weight.device) for axis in _taps(main, layer) or []]
    grid = torch.meshgrid(*taps, indexing="ij")
    index: Any = (slice(None), slice(None), *grid)
    placed[index] = weight
    return placed
