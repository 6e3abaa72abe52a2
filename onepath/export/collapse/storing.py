"""Folded weights: computed in float64, rounded once to the precision of the layer, and put in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

Layer = nn.Linear | _ConvNd


@dataclass(frozen=True)
class Exact:
    """A layer's weight and bias after a fold, before they are rounded.

    Attributes:
        weight: float64, of the shape that the layer will have.
        bias: float64 `(outputs,)`, or None for none.
    """

    weight: Tensor
    bias: Tensor | None

    def fits(self, dtype: torch.dtype) -> bool:
        """Return whether all values are finite in a precision."""
        parts = (self.weight, *(() if self.bias is None else (self.bias,)))
        return all(bool(torch.isfinite(part.to(dtype)).all()) for part in parts)


@dataclass(frozen=True)
class Stored:
    """What storing did: ‖ΔW‖/‖W‖ of the weight, and the relative error of the rounding."""

    relative_change: float
    error: float


def wide(tensor: Tensor) -> Tensor:
    """Return a tensor's values in float64, or in float32 on a device that has no float64."""
    return tensor.detach().to(torch.float32 if tensor.device.type == "mps" else torch.float64)


def wide_bias(layer: nn.Module) -> Tensor | None:
    """Return a layer's bias as `wide`, or None where it has none."""
    bias = cast("Tensor | None", layer.bias)
    return None if bias is None else wide(bias)


def store(layer: Layer, exact: Exact) -> Stored:
    """Put weight and bias in the layer's place for them, in its precision; it keeps its parameters where it can.

    A layer without a bias gets one where there is one to store, trained if its weight is.

    Args:
        layer: a linear layer or a convolution.
        exact: of the layer's shapes.
    """
    weight, before = layer.weight, wide(layer.weight)
    change = relative(exact.weight - before, before)  # before it is overwritten, which float64 would be in place
    with torch.no_grad():
        weight.copy_(exact.weight)
        if layer.bias is None and exact.bias is not None:
            layer.bias = nn.Parameter(torch.empty_like(exact.bias, dtype=weight.dtype), weight.requires_grad)
        if layer.bias is not None and exact.bias is not None:
            layer.bias.copy_(exact.bias)
    return Stored(change, rounding(layer, exact))


def rounding(layer: Layer, exact: Exact) -> float:
    """Return ‖stored − exact‖/‖exact‖ over weight and bias together."""
    pairs = [(layer.weight, exact.weight)]
    if layer.bias is not None and exact.bias is not None:
        pairs.append((layer.bias, exact.bias))
    stored = torch.cat([wide(tensor).flatten() for tensor, _ in pairs])
    meant = torch.cat([value.flatten() for _, value in pairs])
    return relative(stored - meant, meant)


def put(root: nn.Module, path: str, module: nn.Module) -> None:
    """Put a new module in the place of the one at a path below the root, in the mode of that one."""
    parent_path, _, name = path.rpartition(".")
    parent = root.get_submodule(parent_path)
    module.training = cast(nn.Module, parent._modules[name]).training
    parent._modules[name] = module


def channels_in(layer: nn.Module) -> int:
    """Return how many channels, or features, a linear layer or a convolution takes."""
    return layer.in_features if isinstance(layer, nn.Linear) else cast(_ConvNd, layer).in_channels


def channels_out(layer: nn.Module) -> int:
    """Return how many channels, or features, a linear layer or a convolution gives."""
    return layer.out_features if isinstance(layer, nn.Linear) else cast(_ConvNd, layer).out_channels


def numbers(*modules: nn.Module) -> int:
    """Return how many numbers the state dicts of the modules hold."""
    return sum(tensor.numel() for module in modules for tensor in module.state_dict().values())


def relative(difference: Tensor, whole: Tensor) -> float:
    """Return ‖difference‖/‖whole‖; infinite where the whole is zero and the difference is not."""
    size, change = whole.norm().item(), difference.norm().item()
    return change / size if size else (float("inf") if change else 0.0)
