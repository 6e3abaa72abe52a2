"""Ending the second path: Ŵ = W + Σ λ·W' stored in the place of W, in the plain class and in the plain order."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.parametrization import CrossModalWeight
from onepath.merging.reparameterization.weights import (
    WeightAddress,
    cross_modal_chain,
    own_class,
    parametrizations_of,
    weights_of,
)


@dataclass(frozen=True)
class FoldedWeight:
    """What became of one weight.

    Attributes:
        weight: its path.
        scales: λ of each auxiliary, or of each part of the weight that has its own.
        auxiliaries: what each of them was called when it was attached; None for one without a name.
        relative_change: ‖ΔW‖/‖W‖; infinite if W was zero.
        dtype: the precision that it is stored in.
    """

    weight: str
    scales: tuple[float, ...]
    auxiliaries: tuple[str | None, ...]
    relative_change: float
    dtype: str


def collapse_in_place(model: nn.Module) -> tuple[FoldedWeight, ...]:
    """Replace every re-parameterised weight by its value; the model is of its plain classes again.

    Products and sums are made in float32 or more, and rounded to the weight's precision once.

    Raises:
        UnsupportedModuleError: nothing is attached, or a value is not finite; the model is then as it was.
    """
    attached = attached_weights(model)
    if not attached:
        raise UnsupportedModuleError(
            "this model for a collapse", "no auxiliary weights are attached", "attach some, or use it as it is"
        )
    values = [_value(address) for address in attached]
    folded = tuple(_record(address, value) for address, value in zip(attached, values, strict=True))
    for address, value in zip(attached, values, strict=True):
        _store(address, value)
    return folded


def collapsed_state_dict(model: nn.Module) -> tuple[dict[str, Any], tuple[FoldedWeight, ...]]:
    """Return the state dict of the plain model, and what became of each weight; the model stays as it is.

    Its keys, their order, shapes and precisions are those of the model before anything was attached, so that it loads
    with `strict=True` into the plain class.

    Raises:
        UnsupportedModuleError: see `collapse_in_place`; or the model cannot be copied.
    """
    plain = _copied(model)
    folded = collapse_in_place(plain)
    return plain.state_dict(), folded


def attached_weights(model: nn.Module) -> list[WeightAddress]:
    """Return the weights that have auxiliaries, each once.

    Raises:
        UnsupportedModuleError: one of them is parametrised by something else too.
    """
    found = {(id(a.module), a.tensor_name): a for a in weights_of(model).values()}
    for address in found.values():
        if _is_mixed(address):
            raise UnsupportedModuleError(
                address.layer, "its weight is parametrised by something else too", "remove that parametrisation first"
            )
    return [address for address in found.values() if cross_modal_chain(address.module, address.tensor_name)]


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except RuntimeError as error:  # a weight that a hook computes, or a stored output, is part of a graph
        raise UnsupportedModuleError(
            f"a {type(model).__name__}",
            f"it cannot be copied ({str(error).partition('.')[0]})",
            "make pruning permanent with torch.nn.utils.prune.remove, or use collapse_in_place",
        ) from error


def _is_mixed(address: WeightAddress) -> bool:
    if cross_modal_chain(address.module, address.tensor_name) is not None:
        return False
    return any(isinstance(link, CrossModalWeight) for link in _parametrization(address))


def _parametrization(address: WeightAddress) -> Any:  # torch's list, whose `original` it sets at run time
    return parametrizations_of(address.module)[address.tensor_name]


@torch.no_grad()
def _value(address: WeightAddress) -> Tensor:
    """Return the sum as the attached form computes it, but in float32 or more until the end."""
    chain: Sequence[CrossModalWeight] = tuple(_parametrization(address))
    plain = _parametrization(address).original
    total = plain.to(torch.promote_types(plain.dtype, torch.float32))
    for link in chain:
        _check_scale(address, link)
        total = link.added_to(total)  # bit for bit what training saw in float32
    value: Tensor = total.to(plain.dtype)
    if not torch.isfinite(value).all():
        raise UnsupportedModuleError(
            address.layer,
            f"its collapsed weight has NaN or infinite values in {plain.dtype}",
            "look at its scale, or collapse in a wider precision",
        )
    return value


def _check_scale(address: WeightAddress, link: CrossModalWeight) -> None:
    # A class of another name computes λ or the sum in its own way, perhaps from the input.
    if type(link) is not CrossModalWeight or link.scale.shape != (1,):
        raise UnsupportedModuleError(
            address.layer,
            "its scale λ is not one stored number: "
            f"{type(link).__name__} has one of shape {tuple(link.scale.shape)}, or computes it",
            "set every λ to a parameter of shape (1,)",
        )


@torch.no_grad()
def _record(address: WeightAddress, value: Tensor) -> FoldedWeight:
    plain = _parametrization(address).original.double()
    change, size = (value.double() - plain).norm().item(), plain.norm().item()
    relative = change / size if size else (float("inf") if change else 0.0)
    chain: Sequence[CrossModalWeight] = tuple(_parametrization(address))
    return FoldedWeight(
        weight=address.path,
        scales=tuple(link.scale.item() for link in chain),
        auxiliaries=tuple(link.name for link in chain),
        relative_change=relative,
        dtype=str(value.dtype).removeprefix("torch."),
    )


def _store(address: WeightAddress, value: Tensor) -> None:
    module, name = address.module, address.tensor_name
    original = _parametrization(address).original
    order = _parametrization(address)[0].plain_order
    with torch.no_grad():
        original.copy_(value)
    own_class(module)
    parametrize.remove_parametrizations(module, name, leave_parametrized=False)
    # Removal puts the parameter last; the plain class's order is part of its state dict.
    module._parameters.update({key: module._parameters.pop(key) for key in order if key in module._parameters})
