"""What one LoRA layer of PEFT computes, as one weight and one bias; by PEFT's own formulas, without importing it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse.storing import relative, wide
from onepath.merging.adapters.checks import check_dense
from onepath.merging.adapters.low_rank import low_rank_product

_PLAIN_VARIANTS = {"MiCALinearVariant", "MiCAEmbeddingVariant"}
_DORA_VARIANTS = {f"Dora{kind}Variant" for kind in ("Linear", "Embedding", "Conv1d", "Conv2d", "Conv3d")}
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class FoldedLora:
    """The values of a plain layer that computes what a LoRA layer does.

    Attributes:
        weight: in the base layer's precision and layout.
        bias: the same; None where the layer has none.
        scales: of the adapters, in the order in which they act.
        relative_change: ‖ΔW‖/‖W‖; None where W was zero.
        error: ‖stored − exact‖/‖exact‖ of the weight.
    """

    weight: Tensor
    bias: Tensor | None
    scales: tuple[float, ...]
    relative_change: float | None
    error: float


@torch.no_grad()
def folded_lora(path: str, layer: Any, adapters: tuple[str, ...]) -> FoldedLora:  # Any: a class of peft
    """Return the weight and bias of a layer with its adapters folded in, in the order in which they act.

    LoRA adds scaling·B·A to the weight, and scaling times the bias of B to the bias; DoRA (arXiv 2402.09353) then
    multiplies what there is so far, without the base layer's bias, by magnitude / ‖W + scaling·B·A‖ for each output,
    with the base layer's W. Everything is summed in float64 and rounded once.

    Args:
        path: of the layer, for messages.
        layer: a LoRA layer of PEFT.
        adapters: names of those that act.

    Raises:
        UnsupportedModuleError: the base layer is quantised or of a kind of its own, a variant of LoRA depends on the
            input, dropout acts, there is no bias to fold one into, or a value is not finite in the layer's precision.
    """
    base = layer.base_layer
    _check_base(path, layer, base)
    plain = _outputs_first(base, wide(base.weight))
    total, shift = plain, plain.new_zeros(plain.shape[0])
    for name in adapters:
        _check_adapter(path, layer, name)
        a, b = _factors(layer, name)
        update = layer.scaling[name] * low_rank_product(wide(a), wide(b).flatten(1))
        bias = _own_bias(layer, name)
        total = total + update
        shift = shift if bias is None else shift + layer.scaling[name] * wide(bias)
        if _variant(layer, name) in _DORA_VARIANTS:
            factor = _dora_factor(layer, name, plain + update)
            total, shift = total * factor.reshape(-1, *(1,) * (total.ndim - 1)), shift * factor
    stored = _stored(path, _outputs_first(base, total), base.weight)
    return FoldedLora(
        stored,
        _stored_bias(path, base, shift, any(_own_bias(layer, name) is not None for name in adapters)),
        tuple(float(layer.scaling[name]) for name in adapters),
        relative(total - plain, plain) if plain.any() else None,
        relative(_outputs_first(base, wide(stored)) - total, total),
    )


def _outputs_first(base: nn.Module, weight: Tensor) -> Tensor:
    """Return the weight as `(outputs, inputs, …)`, or such a one as the layer keeps it: the same step both ways."""
    return weight.t() if isinstance(base, nn.Embedding) or _is_transposed(base) else weight


def _factors(layer: Any, name: str) -> tuple[Tensor, Tensor]:  # Any: a class of peft
    is_embedding = isinstance(layer.base_layer, nn.Embedding)
    a: Tensor = layer.lora_embedding_A[name] if is_embedding else layer.lora_A[name].weight
    b: Tensor = layer.lora_embedding_B[name] if is_embedding else layer.lora_B[name].weight
    return a, b


def _own_bias(layer: Any, name: str) -> Tensor | None:  # Any: a class of peft
    own: Tensor | None = layer.lora_B[name].bias if name in layer.lora_B else None
    return own


def _dora_factor(layer: Any, name: str, adapted: Tensor) -> Tensor:  # Any: a class of peft
    magnitude: Tensor = layer.lora_magnitude_vector[name].weight
    factor: Tensor = wide(magnitude).flatten() / torch.linalg.vector_norm(adapted.flatten(1), dim=1)
    return factor


def _variant(layer: Any, name: str) -> str:  # Any: a class of peft
    variant = getattr(layer, "lora_variant", {}).get(name)
    return "" if variant is None else type(variant).__name__


def _stored(path: str, value: Tensor, like: Tensor) -> Tensor:
    stored = value.to(like.dtype)
    if not torch.isfinite(stored).all():
        raise UnsupportedModuleError(
            path,
            f"with its adapters it has NaN or infinite values in {str(like.dtype).removeprefix('torch.')}",
            "look at their scalings, or collapse in a wider precision",
        )
    return stored


def _stored_bias(path: str, base: nn.Module, shift: Tensor, is_shifted: bool) -> Tensor | None:
    bias: Tensor | None = getattr(base, "bias", None)
    if bias is not None:
        return _stored(path, wide(bias) + shift, bias)
    if is_shifted:
        raise UnsupportedModuleError(
            path, "its adapter has a bias (lora_bias) and the layer has none", "give the layer a bias of zeros"
        )
    return None


def _check_base(path: str, layer: Any, base: Any) -> None:  # Any: a class of peft, a layer with a weight
    plain = (nn.Linear, nn.modules.linear.NonDynamicallyQuantizableLinear, nn.Embedding, *_CONVOLUTIONS)
    if type(base) not in plain and not _is_transposed(base):
        raise UnsupportedModuleError(
            path,
            f"its base layer is a {type(base).__module__}.{type(base).__name__}, quantised or of a kind of its own",
            "load the base model unquantised, or merge it there with merge_and_unload()",
        )
    if isinstance(base, nn.Embedding) and base.max_norm is not None:
        raise UnsupportedModuleError(
            path, "its embedding has max_norm, which rewrites the table at every call", "build it without max_norm"
        )
    if isinstance(base, _CONVOLUTIONS) and base.groups > 1:
        raise UnsupportedModuleError(
            path, "it is a grouped convolution, and its adapter is none", "adapt convolutions of one group"
        )
    if not isinstance(base, nn.Embedding) and getattr(layer, "fan_in_fan_out", False) != _is_transposed(base):
        raise UnsupportedModuleError(
            path,
            f"fan_in_fan_out is {layer.fan_in_fan_out}, which is not how a {type(base).__name__} keeps its weight",
            "make the LoraConfig anew",
        )
    check_dense(path, base.weight)


def _check_adapter(path: str, layer: Any, name: str) -> None:  # Any: a class of peft
    variant = _variant(layer, name)
    if variant and variant not in _PLAIN_VARIANTS | _DORA_VARIANTS:
        raise UnsupportedModuleError(
            path,
            f"its adapter {name!r} is LoRA's {variant.removesuffix('Variant')}, which is not known to be linear with "
            "one stored scale",
            "convert it to plain LoRA, or merge it with merge_and_unload()",
        )
    if variant not in _DORA_VARIANTS and getattr(layer, "use_dora", {}).get(name):
        raise UnsupportedModuleError(
            path,
            f"its adapter {name!r} is DoRA of a release of PEFT that keeps it elsewhere",
            "load it with peft 0.17 or later, or merge it with merge_and_unload()",
        )
    if name in layer.lora_A:
        _check_modules(path, layer, name)
    scaling, factors = layer.scaling[name], _factors(layer, name)
    if not isinstance(scaling, int | float) or not math.isfinite(scaling):
        raise UnsupportedModuleError(
            path, f"the scaling of its adapter {name!r} is not one finite number", "set it to a number"
        )
    if 0 in (*factors[0].shape, *factors[1].shape):
        raise UnsupportedModuleError(path, f"its adapter {name!r} has rank 0", "delete it, it adds nothing")
    for factor in factors:
        check_dense(f"{path}, adapter {name!r}", factor)


def _check_modules(path: str, layer: Any, name: str) -> None:  # Any: a class of peft
    base, first, second, dropout = layer.base_layer, layer.lora_A[name], layer.lora_B[name], layer.lora_dropout[name]
    if isinstance(dropout, nn.Dropout) and dropout.training and dropout.p > 0:
        raise UnsupportedModuleError(
            path, f"its adapter {name!r} has dropout, which acts in training mode", "call eval() on the model first"
        )
    kind = type(base) if isinstance(base, _CONVOLUTIONS) else nn.Linear
    if type(first) is not kind or type(second) is not kind or not isinstance(dropout, nn.Dropout | nn.Identity):
        raise UnsupportedModuleError(
            path,
            f"its adapter {name!r} is made of {type(first).__name__}, {type(second).__name__} and "
            f"{type(dropout).__name__}, not of two plain layers",
            "convert it to plain LoRA",
        )
    names = ("kernel_size", "stride", "padding", "dilation", "padding_mode", "groups")
    for setting in names if isinstance(base, _CONVOLUTIONS) else ():
        mine, theirs = getattr(base, setting), getattr(first, setting)
        if mine != theirs:
            raise UnsupportedModuleError(
                path, f"its {setting} is {mine} and that of its adapter {name!r} {theirs}", "adapt another layer"
            )


def _is_transposed(base: nn.Module) -> bool:
    """Tell the linear layer of transformers that keeps (inputs, outputs), without importing transformers."""
    return type(base).__name__ == "Conv1D" and type(base).__module__.startswith("transformers.")
