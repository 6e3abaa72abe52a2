"""Adapters that a hypernetwork generated for a projector, and the projector of a narrower encoder (SEMI)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.adapters.low_rank import LowRankAdapter


def generated_adapter(
    values: Tensor, *, inputs: int, outputs: int, rank: int, kept_inputs: int | None = None
) -> LowRankAdapter:
    """Return the adapter of one linear layer out of the numbers that a hypernetwork generated for it.

    The numbers are A row by row, B row by row, and then, where one was generated, the bias δb. They hold A as
    `(inputs, rank)` and B as `(rank, outputs)`, so that W' = W + (A·B)ᵀ and b' = b + δb: the transposes of the field's.
    Their scale is in them already. After SEMI (arXiv 2509.04606).

    Args:
        values: one-dimensional, `inputs·rank + rank·outputs` numbers, and `outputs` more with a bias.
        inputs: of the layer, at the width that the hypernetwork was built for.
        outputs: of the layer.
        rank: of the adapter.
        kept_inputs: of an encoder that is narrower than `inputs`: A is cropped to its first rows, as the layer is by
            `narrowed_linear`.

    Raises:
        UnsupportedModuleError: there are more or fewer numbers, or the narrower width is none.

    >>> adapter = generated_adapter(torch.arange(3.0 * 2 + 2 * 4), inputs=3, outputs=4, rank=2, kept_inputs=1)
    >>> adapter.a.flatten().tolist(), adapter.b[0].tolist(), adapter.bias
    ([0.0, 1.0], [6.0, 10.0], None)
    """
    sizes = [inputs * rank, rank * outputs, outputs]
    if values.shape not in ((sum(sizes[:2]),), (sum(sizes),)):
        raise UnsupportedModuleError(
            "a generated adapter",
            f"its values are {tuple(values.shape)}, and A {(inputs, rank)}, B {(rank, outputs)} and a bias "
            f"{(outputs,)} take {sum(sizes[:2])} numbers without the bias and {sum(sizes)} with it",
            "give the sizes that the hypernetwork was built for",
        )
    _check_kept(kept_inputs, inputs)
    a, b, bias = torch.split(values, [*sizes[:2], values.numel() - sum(sizes[:2])])
    return LowRankAdapter(
        a.reshape(inputs, rank)[:kept_inputs].t(), b.reshape(rank, outputs).t(), bias if bias.numel() else None
    )


def narrowed_linear(layer: nn.Linear, inputs: int) -> nn.Linear:
    """Return a copy of a linear layer that takes its first inputs alone, as if the others were zero.

    Args:
        layer: of a projector that is shared by encoders of several widths.
        inputs: of a narrower encoder.

    Raises:
        UnsupportedModuleError: the layer has fewer, or its weight is computed, as by adapters.
    """
    _check_kept(inputs, layer.in_features)
    if not {name for name, _ in layer.named_parameters()} <= {"weight", "bias"}:
        raise UnsupportedModuleError(
            "a layer to narrow", "its weight is computed from other tensors", "fold or remove what computes it first"
        )
    narrowed = nn.Linear(inputs, layer.out_features, bias=layer.bias is not None, device="meta").train(layer.training)
    for name, parameter in layer.named_parameters():
        values = parameter.detach()[:, :inputs] if parameter.ndim == 2 else parameter.detach()
        copied = values.clone(memory_format=torch.contiguous_format)
        setattr(narrowed, name, nn.Parameter(copied, requires_grad=parameter.requires_grad))
    return narrowed


def _check_kept(kept: int | None, inputs: int) -> None:
    if kept is not None and not 1 <= kept <= inputs:
        raise UnsupportedModuleError(
            "a narrower encoder", f"it has {kept} features and the layer {inputs} inputs", "give 1 to that many"
        )
