"""What a plan is refused for, before anything is changed."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, nn

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
    uses = _uses(target)
    for pair in plan.pairs:
        _known(pair.target, mine, "target")
        _known(pair.auxiliary, theirs, "auxiliary")
        _check_pair(pair, mine[pair.target], theirs[pair.auxiliary])
        _refuse_shared(mine[pair.target], uses)


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
    if _storage(mine) == _storage(theirs):
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


def _refuse_shared(address: WeightAddress, uses: Counter[int]) -> None:
    if uses[_storage(address)] > 1:
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


def _uses(model: nn.Module) -> Counter[int]:
    """Return how many paths lead to each parameter's memory."""
    return Counter(_storage(address) for address in weights_of(model).values())


def _storage(address: WeightAddress) -> int:
    if cross_modal_chain(address.module, address.tensor_name):
        stored = parametrizations_of(address.module)[address.tensor_name].original
    else:
        stored = address.module._parameters.get(address.tensor_name)
    return id(stored) if stored is None or stored.data_ptr() == 0 else int(stored.data_ptr())
