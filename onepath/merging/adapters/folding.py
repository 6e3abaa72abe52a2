"""Ending the adapters: W + Σ scale·B·A and b + Σ δb stored in the place of W and b, in the plain class."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.adapters.addresses import adapted_parameters
from onepath.merging.adapters.checks import check_dense, check_untied
from onepath.merging.adapters.parametrization import Link, LowRankWeight, ShiftedBias
from onepath.merging.reparameterization.weights import WeightAddress, own_class, parametrizations_of


@dataclass(frozen=True)
class FoldedAdapters:
    """What became of one parameter.

    Attributes:
        parameter: its path.
        ranks: of the adapters; none for a bias.
        scales: of the adapters; none for a bias.
        relative_change: ‖ΔW‖/‖W‖; infinite if W was zero.
        error: ‖stored − exact‖/‖exact‖, of the sum in float64.
        numbers_before: stored in the parameter and its adapters.
        numbers_after: stored in the parameter.
    """

    parameter: str
    ranks: tuple[int, ...]
    scales: tuple[float, ...]
    relative_change: float
    error: float
    numbers_before: int
    numbers_after: int


def fold_adapters(model: nn.Module) -> tuple[FoldedAdapters, ...]:
    """Replace every adapted parameter by its value; the model is of its plain classes again, in place.

    Products and sums are made in at least float32, and rounded to the parameter's precision once: in float32 and wider
    the values are, bit for bit, those that the attached form computed.

    Raises:
        UnsupportedModuleError: nothing is attached; an adapter is of a class of one's own, has lost its rank, or drops
            inputs in training mode; a parameter is tied or quantised; or a value is not finite in its precision. The
            model is then as it was.
    """
    adapted = adapted_parameters(model)
    if not adapted:
        raise UnsupportedModuleError("this model for a fold", "no adapters are attached", "attach some, or use it")
    check_untied(model, adapted)
    values = [_value(address) for address in adapted]
    folded = tuple(_record(address, value) for address, value in zip(adapted, values, strict=True))
    for address, value in zip(adapted, values, strict=True):
        _store(address, value)
    return folded


def _chain(address: WeightAddress) -> Any:  # torch's list, whose `original` it sets at run time
    return parametrizations_of(address.module)[address.tensor_name]


@torch.no_grad()
def _value(address: WeightAddress) -> Tensor:
    plain: Tensor = _chain(address).original
    check_dense(address.layer, plain)
    links: Sequence[Link] = tuple(_chain(address))
    total = plain
    for link in links:
        _check_link(address, link)
        total = link.added_to(total)  # bit for bit what training saw in float32
    value = total.to(plain.dtype)
    if not torch.isfinite(value).all():
        raise UnsupportedModuleError(
            address.layer,
            f"with its adapters it has NaN or infinite values in {str(plain.dtype).removeprefix('torch.')}",
            "look at their scales, or fold in a wider precision",
        )
    return value


def _check_link(address: WeightAddress, link: Link) -> None:
    if type(link) not in (LowRankWeight, ShiftedBias):
        raise UnsupportedModuleError(
            address.layer,
            f"its adapter is a {type(link).__name__}, which may compute its scale or its product from the input",
            "fold only adapters with one stored scale",
        )
    if not isinstance(link, LowRankWeight):
        return
    if link.rank == 0:
        raise UnsupportedModuleError(address.layer, "its adapter has rank 0", "detach it, it adds nothing")
    if link.training and link.dropout:
        raise UnsupportedModuleError(
            address.layer, "its adapter drops inputs in training mode", "call eval() on the model first"
        )


@torch.no_grad()
def _record(address: WeightAddress, value: Tensor) -> FoldedAdapters:
    plain, links = _chain(address).original.double(), tuple(_chain(address))
    low_rank = [link for link in links if isinstance(link, LowRankWeight)]
    exact = plain
    for link in copy.deepcopy(links):
        exact = link.double().added_to(exact)
    return FoldedAdapters(
        address.path,
        tuple(link.rank for link in low_rank),
        tuple(link.scale for link in low_rank),
        _relative(value.double() - plain, plain),
        _relative(value.double() - exact, exact),
        plain.numel() + sum(part.numel() for link in links for part in link.parameters()),
        plain.numel(),
    )


def _relative(change: Tensor, whole: Tensor) -> float:
    moved, size = change.norm().item(), whole.norm().item()
    return moved / size if size else (float("inf") if moved else 0.0)


def _store(address: WeightAddress, value: Tensor) -> None:
    module, name = address.module, address.tensor_name
    order = _chain(address)[0].plain_order
    with torch.no_grad():
        _chain(address).original.copy_(value)
    own_class(module)
    parametrize.remove_parametrizations(module, name, leave_parametrized=False)
    # Removal puts the parameter last; the plain class's order is part of its state dict.
    module._parameters.update({key: module._parameters.pop(key) for key in order if key in module._parameters})
