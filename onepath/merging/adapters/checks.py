"""What an adapter is refused for, before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.adapters.addresses import bias_of, links_of
from onepath.merging.adapters.low_rank import LowRankAdapter
from onepath.merging.reparameterization.memory import memory_of, overlaps
from onepath.merging.reparameterization.weights import WeightAddress, linear_weights_of, weights_of

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def check_fit(address: WeightAddress, adapter: LowRankAdapter) -> None:
    """Check that a layer can take an adapter exactly.

    Raises:
        UnsupportedModuleError: the layer is of another kind, or computes its weight; the weight is packed, quantised or
            without data; the shapes differ; the bias is missing; or the layer's precision cannot hold the adapter.
    """
    check_kind(address)
    addresses = [address] if adapter.bias is None else [address, bias_of(address)]
    for each in addresses:
        if links_of(each.module, each.tensor_name) is None:
            raise UnsupportedModuleError(
                each.layer, "it is already parametrised by something else", "collapse or remove that first"
            )
        check_dense(each.layer, each.value)
    shape = tuple(address.value.shape)[:: -1 if address.output_axis else 1]
    if shape != adapter.shape:
        raise UnsupportedModuleError(
            address.layer,
            f"its weight is {shape} and B·A of the adapter is {adapter.shape}",
            "give A as (rank, inputs) and B as (outputs, rank) of this layer, or crop what was generated",
        )
    _check_range(address, adapter)


def check_kind(address: WeightAddress) -> None:
    """Check that a parameter is of a kind that takes an adapter.

    Raises:
        UnsupportedModuleError: it is none of a linear layer, of a convolution of one group, or packed projections.
    """
    module = address.module
    is_convolution = isinstance(module, _CONVOLUTIONS) and address.tensor_name == "weight"
    if is_convolution and getattr(module, "groups", 1) > 1:
        raise UnsupportedModuleError(
            address.layer,
            "it is a grouped convolution, and W·x + B·(A·x) is none",
            "leave it out, or adapt a convolution of one group",
        )
    if not is_convolution and address.tensor_name not in linear_weights_of(module):
        raise UnsupportedModuleError(
            address.layer,
            f"{address.tensor_name} of a {type(module).__name__} takes no low-rank adapter",
            "name linear layers, convolutions, or multi-head attention with packed projections",
        )


def check_dense(name: str, tensor: Tensor) -> None:
    """Check that a parameter is stored as plain numbers of 16 bits or more, all of them finite, each in its own place.

    Raises:
        UnsupportedModuleError: it is packed, quantised, sparse, without data, expanded, or not finite.
    """
    if is_lazy(tensor) or tensor.is_meta:
        raise UnsupportedModuleError(name, "its weight has no data", "load its weights first")
    is_plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout is torch.strided and not tensor.is_quantized
    if not is_plain or not tensor.is_floating_point() or torch.finfo(tensor.dtype).bits < 16:
        raise UnsupportedModuleError(
            name,
            f"its weight is already quantised or packed ({type(tensor).__name__} of "
            f"{str(tensor.dtype).removeprefix('torch.')})",
            "use the model before it was quantised",
        )
    if any(step == 0 and size > 1 for step, size in zip(tensor.stride(), tensor.shape, strict=True)):
        raise UnsupportedModuleError(
            name, "several of its values lie at one place in memory", "store a copy of its weight with clone()"
        )
    if not torch.isfinite(tensor).all():
        raise UnsupportedModuleError(name, "its weight holds NaN or infinite values", "load or train it again")


def check_untied(model: nn.Module, addresses: Sequence[WeightAddress]) -> None:
    """Check that no other parameter of the model lies in the memory of these.

    Raises:
        UnsupportedModuleError: one does; it would have to change too.
    """
    known = {(id(a.module), a.tensor_name): a for a in weights_of(model).values()}
    ranges = [span for address in known.values() for span in memory_of(address)]
    for address in addresses:
        if overlaps(memory_of(address), ranges) > len(memory_of(address)):
            raise UnsupportedModuleError(
                address.layer, "its weight is tied with another layer's, which has no adapter", "untie the two first"
            )


def _check_range(address: WeightAddress, adapter: LowRankAdapter) -> None:
    wide = torch.promote_types(address.value.dtype, torch.float32)
    for tensor in (adapter.a, adapter.b, adapter.bias):
        if tensor is not None and not tensor.to(wide).isfinite().all():
            raise UnsupportedModuleError(
                address.layer, f"the adapter has values that {wide} cannot hold", "attach it in a wider precision"
            )
