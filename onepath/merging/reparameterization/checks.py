"""What a plan is refused for, before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.memory import ByteRange, memory_of, overlaps
from onepath.merging.reparameterization.plan import Pair, Plan
from onepath.merging.reparameterization.rows import taken_rows
from onepath.merging.reparameterization.slices import check_rows
from onepath.merging.reparameterization.weights import WeightAddress, cross_modal_chain, weights_of


def check_plan(plan: Plan, target: nn.Module, auxiliary: nn.Module) -> None:
    """Check every pair of a plan against the two models.

    Raises:
        UnsupportedModuleError: the plan is empty; a path or a row is unknown or comes twice; shapes or layouts differ;
            a layer is not linear in its weight; a weight is not a dense floating-point tensor with data and finite
            values, or the target's precision cannot hold the auxiliary's; the target's is shared with another layer,
            belongs to the auxiliary too, or is parametrised by something else; weights on several devices are to share
            a λ.
    """
    if not plan.pairs:
        raise UnsupportedModuleError("the plan", "it has no pairs", "name layers that both models have")
    check_shapes_known(target, role="target")
    check_shapes_known(auxiliary, role="auxiliary")
    mine, theirs = weights_of(target), weights_of(auxiliary)
    for pair in plan.pairs:
        _known(pair.target, mine, "target")
        _known(pair.auxiliary, theirs, "auxiliary")
    _refuse_twice(plan)
    ranges = [span for address in mine.values() for span in memory_of(address)]
    for pair in plan.pairs:
        _check_pair(pair, mine[pair.target], theirs[pair.auxiliary])
        _refuse_shared(mine[pair.target], ranges)
    _refuse_devices(plan, mine)


def check_shapes_known(model: nn.Module, *, role: str) -> None:
    """Refuse a model with lazy layers that have not been called yet.

    Raises:
        UnsupportedModuleError: it has one.
    """
    for address in weights_of(model).values():
        if is_lazy(address.value):
            raise UnsupportedModuleError(
                address.layer,
                f"the {role}'s weight has no data yet: a lazy layer takes its shape from the first call",
                "call the model once first",
            )


def added_part(pair: Pair, mine: WeightAddress, theirs: WeightAddress) -> Tensor:
    """Return a view of what a pair adds, laid out as the target's weight is."""
    part = taken_rows(theirs.value, pair.auxiliary_rows, axis=theirs.output_axis)
    return part.t() if mine.output_axis != theirs.output_axis else part


def _check_pair(pair: Pair, mine: WeightAddress, theirs: WeightAddress) -> None:
    # The kind of parametrisation comes first: a foreign one may not even give a tensor of the plain weight's shape.
    if cross_modal_chain(mine.module, mine.tensor_name) is None:
        raise UnsupportedModuleError(
            mine.layer, "its weight is already parametrised by something else", "remove that parametrisation first"
        )
    _check_layer(mine)
    for address, rows, role in ((mine, pair.target_rows, "target"), (theirs, pair.auxiliary_rows, "auxiliary")):
        _check_tensor(address.layer, address.value, role)
        check_rows(address, rows)
    _check_shapes(pair, mine, theirs)
    _check_range(mine, added_part(pair, mine, theirs))
    if overlaps(memory_of(mine), memory_of(theirs)):
        raise UnsupportedModuleError(
            mine.layer, "target and auxiliary share this weight's memory", "give the auxiliary as a deep copy"
        )


def _check_shapes(pair: Pair, mine: WeightAddress, theirs: WeightAddress) -> None:
    if (mine.output_axis != theirs.output_axis) != pair.transposed:
        raise UnsupportedModuleError(
            mine.layer, f"the plan says transposed={pair.transposed}, and the layers differ in that", "make a new plan"
        )
    part, added = taken_rows(mine.value, pair.target_rows, axis=mine.output_axis), added_part(pair, mine, theirs)
    if part.shape != added.shape:
        raise UnsupportedModuleError(
            mine.layer + pair.left.removeprefix(pair.target),
            f"the target's weight is {tuple(part.shape)} and the auxiliary's "
            f"{theirs.layer}{pair.right.removeprefix(pair.auxiliary)} is {tuple(added.shape)}",
            "choose an auxiliary with the same width, or leave the layer out with layers=[…]",
        )
    if tuple(part.shape) != pair.shape:
        raise UnsupportedModuleError(
            mine.layer, f"its weight is {tuple(part.shape)}, and the plan says {pair.shape}", "make a new plan"
        )


def _check_range(address: WeightAddress, added: Tensor) -> None:
    dtype = address.value.dtype
    if dtype != added.dtype and not added.to(dtype).isfinite().all():
        raise UnsupportedModuleError(
            address.layer,
            f"the auxiliary's weight reaches {added.abs().max().item():.3g}, which "
            f"{str(dtype).removeprefix('torch.')} cannot hold",
            "attach it to the target in a wider precision",
        )


def _check_layer(address: WeightAddress) -> None:
    module = address.module
    is_recurrent = isinstance(module, (nn.RNNBase, nn.RNNCellBase))
    renormalises = isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.max_norm is not None
    if is_recurrent or renormalises or isinstance(module, nn.PReLU):
        raise UnsupportedModuleError(
            address.layer,
            f"a {type(module).__name__} is not linear in its weight"
            + (" with max_norm, which rewrites it at every call" if renormalises else "")
            + ", so that a second path would not be a sum",
            "leave the layer out of the plan",
        )


def _check_tensor(name: str, weight: Tensor, role: str) -> None:
    if weight.is_meta:
        raise UnsupportedModuleError(name, f"the {role}'s weight has no data (meta device)", "load its weights first")
    is_wide = weight.is_floating_point() and torch.finfo(weight.dtype).bits >= 16
    if not is_wide or weight.layout is not torch.strided or weight.is_quantized:
        raise UnsupportedModuleError(
            name,
            f"the {role}'s weight is {str(weight.dtype).removeprefix('torch.')}, {weight.layout}, not a dense "
            "floating-point tensor of 16 bits or more",
            "use the model before it was quantised or packed",
        )
    if not torch.isfinite(weight).all():
        raise UnsupportedModuleError(
            name, f"the {role}'s weight holds NaN or infinite values", "load or train it again"
        )


def _refuse_shared(address: WeightAddress, ranges: list[ByteRange]) -> None:
    # The list holds the weight's own range too: one that overlaps is the weight, two are another's as well.
    if overlaps(memory_of(address), ranges) > len(memory_of(address)):
        raise UnsupportedModuleError(
            address.layer, "its weight is shared with another layer, which would change too", "untie the two first"
        )


def _refuse_twice(plan: Plan) -> None:
    for path, pairs in by_target(plan.pairs).items():
        spans = sorted(pair.target_rows for pair in pairs if pair.target_rows)
        if len(spans) < len(pairs) > 1:
            raise UnsupportedModuleError(
                path, f"it is the target of {len(pairs)} pairs of one plan", "make a plan for each"
            )
        for first, second in pairwise(spans):
            if second[0] < first[1]:
                raise UnsupportedModuleError(
                    path,
                    f"it is the target of 2 pairs of one plan in its rows {second[0]}:{min(first[1], second[1])}",
                    "make a plan for each",
                )


def by_target(pairs: Iterable[Pair]) -> Mapping[str, Sequence[Pair]]:
    """Return the pairs of each of the target's parameters, by its path."""
    found: dict[str, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(pair.target, []).append(pair)
    return found


def _refuse_devices(plan: Plan, mine: Mapping[str, WeightAddress]) -> None:
    devices: dict[str, torch.device] = {}
    for pair in plan.pairs:
        device = mine[pair.target].value.device
        if devices.setdefault(pair.scale_name, device) != device:
            raise UnsupportedModuleError(
                pair.target, f"its λ {pair.scale_name} is also that of a weight on another device", "give it its own λ"
            )


def _known(path: str, known: Mapping[str, WeightAddress], role: str) -> None:
    if path not in known:
        raise UnsupportedModuleError(path, f"the {role} has no parameter of this path", "make a new plan")
