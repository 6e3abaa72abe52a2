"""What a plan is refused for, before anything is changed."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.plan import Pair, Plan
from onepath.merging.reparameterization.weights import (
    WeightAddress,
    cross_modal_chain,
    parametrizations_of,
    weights_of,
)


def check_plan(plan: Plan, target: nn.Module, auxiliary: nn.Module) -> None:
    """Check every pair of a plan against the two models.

    Raises:
        UnsupportedModuleError: the plan is empty; a path is unknown or comes twice; shapes differ; a weight is not a
            dense floating-point tensor with data and finite values; the target's is shared with another layer, belongs
            to the auxiliary too, or is parametrised by something else.
    """
    if not plan.pairs:
        raise UnsupportedModuleError("the plan", "it has no pairs", "name layers that both models have")
    _refuse_twice(plan)
    mine, theirs = weights_of(target), weights_of(auxiliary)
    ranges = [span for address in mine.values() for span in _memory(address)]
    for pair in plan.pairs:
        _known(pair.target, mine, "target")
        _known(pair.auxiliary, theirs, "auxiliary")
        _check_pair(pair, mine[pair.target], theirs[pair.auxiliary])
        _refuse_shared(mine[pair.target], ranges)


def _check_pair(pair: Pair, mine: WeightAddress, theirs: WeightAddress) -> None:
    # The kind of parametrisation comes first: a foreign one may not even give a tensor of the plain weight's shape.
    if cross_modal_chain(mine.module, mine.tensor_name) is None:
        raise UnsupportedModuleError(
            mine.layer, "its weight is already parametrised by something else", "remove that parametrisation first"
        )
    _check_tensor(mine.layer, mine.value, "target")
    _check_tensor(theirs.layer, theirs.value, "auxiliary")
    if mine.value.shape != theirs.value.shape:
        raise UnsupportedModuleError(
            mine.layer,
            f"the target's weight is {tuple(mine.value.shape)} and the auxiliary's {theirs.layer} is "
            f"{tuple(theirs.value.shape)}",
            "choose an auxiliary with the same width, or leave the layer out with layers=[…]",
        )
    if tuple(mine.value.shape) != pair.shape:
        raise UnsupportedModuleError(
            mine.layer, f"its weight is {tuple(mine.value.shape)}, and the plan says {pair.shape}", "make a new plan"
        )
    if _overlaps(_memory(mine), _memory(theirs)):
        raise UnsupportedModuleError(
            mine.layer, "target and auxiliary share this weight's memory", "give the auxiliary as a deep copy"
        )


def _check_tensor(name: str, weight: Tensor, role: str) -> None:
    if weight.is_meta:
        raise UnsupportedModuleError(name, f"the {role}'s weight has no data (meta device)", "load its weights first")
    if not weight.is_floating_point() or weight.layout is not torch.strided or weight.is_quantized:
        raise UnsupportedModuleError(
            name,
            f"the {role}'s weight is {str(weight.dtype).removeprefix('torch.')}, {weight.layout}, not a dense "
            "floating-point tensor",
            "use the model before it was quantised or packed",
        )
    if not torch.isfinite(weight).all():
        raise UnsupportedModuleError(
            name, f"the {role}'s weight holds NaN or infinite values", "load or train it again"
        )


def _refuse_shared(address: WeightAddress, ranges: list[_Range]) -> None:
    # The list holds the weight's own range too: one that overlaps is the weight, two are another's as well.
    if _overlaps(_memory(address), ranges) > len(_memory(address)):
        raise UnsupportedModuleError(
            address.layer, "its weight is shared with another layer, which would change too", "untie the two first"
        )


def _refuse_twice(plan: Plan) -> None:
    for path, count in Counter(pair.target for pair in plan.pairs).items():
        if count > 1:
            raise UnsupportedModuleError(path, f"it is the target of {count} pairs of one plan", "make a plan for each")


def _known(path: str, known: dict[str, WeightAddress], role: str) -> None:
    if path not in known:
        raise UnsupportedModuleError(path, f"the {role} has no parameter of this path", "make a new plan")


class _Range(NamedTuple):
    """Bytes of memory from the first to before the last."""

    device: torch.device
    first: int
    last: int


def _overlaps(ranges: list[_Range], others: list[_Range]) -> int:
    """Return how many pairs of ranges have bytes in common."""
    return sum(a.device == b.device and a.first < b.last and b.first < a.last for a in ranges for b in others)


def _memory(address: WeightAddress) -> list[_Range]:
    """Return where the tensors that make up a weight lie; addresses tell also storages made over the same memory."""
    return [_range(tensor) for tensor in _stored(address) if _has_memory(tensor)]


def _range(tensor: Tensor) -> _Range:
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    first = tensor.data_ptr()
    return _Range(tensor.device, first, first + (reach + 1) * tensor.element_size())


def _has_memory(tensor: Tensor) -> bool:
    return not is_lazy(tensor) and tensor.layout is torch.strided and not tensor.is_meta and tensor.numel() > 0


def _stored(address: WeightAddress) -> list[Tensor]:
    links = parametrizations_of(address.module)
    if address.tensor_name in links:
        held = links[address.tensor_name]
        return [*held.parameters(recurse=False), *held.buffers(recurse=False)]
    return [address.value]
