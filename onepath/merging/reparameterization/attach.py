"""Attaching auxiliary weights to a target, all of a plan or nothing."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn.utils import parametrize

from onepath.merging.reparameterization.checks import check_plan
from onepath.merging.reparameterization.pairing import Layers, plan_reparameterization
from onepath.merging.reparameterization.parametrization import CrossModalWeight
from onepath.merging.reparameterization.plan import Plan
from onepath.merging.reparameterization.weights import (
    WeightAddress,
    cross_modal_chain,
    own_class,
    parametrizations_of,
    weights_of,
)

Training = Literal["trainable", "frozen"]


def reparameterize(
    target: nn.Module, auxiliary: nn.Module, *, layers: Layers | None = None, training: Training = "trainable"
) -> Plan:
    """Give the target's linear layers a second path through the auxiliary's weights, in place, and return the plan.

    The target's outputs are unchanged until the scales λ, 0 at the start, are trained. The auxiliary is copied.

    Args:
        target: the model to extend; calling this again with another auxiliary extends it further.
        auxiliary: any model with weights of the same shapes.
        layers: which ones; see `plan_reparameterization`.
        training: whether the auxiliary weights are trained too, or only the scales.

    Raises:
        UnsupportedModuleError: a pair cannot be treated exactly; the target is then as it was.

    >>> plan = reparameterize(nn.Sequential(nn.Linear(2, 3)), nn.Sequential(nn.Linear(2, 3)))
    >>> print(plan)
    0.weight += λ · 0.weight (3, 2)
    """
    plan = plan_reparameterization(target, auxiliary, layers=layers)
    attach(plan, target, auxiliary, training=training)
    return plan


def attach(plan: Plan, target: nn.Module, auxiliary: nn.Module, *, training: Training = "trainable") -> None:
    """Attach the auxiliary's weights to the target's as the plan says, in place.

    Args:
        plan: made by `plan_reparameterization`, or by hand.
        target: keeps its classes' behaviour, precision, device, hooks and flags.
        auxiliary: its weights are copied.
        training: whether the copies are trained.

    Raises:
        UnsupportedModuleError: the plan does not fit; the target is then as it was.
    """
    check_plan(plan, target, auxiliary)
    mine, theirs = weights_of(target), weights_of(auxiliary)
    links = [(mine[p.target], _link(mine[p.target], theirs[p.auxiliary], training)) for p in plan.pairs]
    for address, link in links:
        own_class(address.module)
        parametrize.register_parametrization(address.module, address.tensor_name, link)


def scales(model: nn.Module) -> dict[str, tuple[float, ...]]:
    """Return the scales λ of each re-parameterised weight, one an auxiliary, by the weight's path."""
    chains = {path: cross_modal_chain(a.module, a.tensor_name) for path, a in weights_of(model).items()}
    return {path: tuple(link.scale.item() for link in chain) for path, chain in chains.items() if chain}


def _link(mine: WeightAddress, theirs: WeightAddress, training: Training) -> CrossModalWeight:
    weight = mine.value
    copied = (
        theirs.value.detach().to(device=weight.device, dtype=weight.dtype).clone(memory_format=torch.contiguous_format)
    )
    link = CrossModalWeight(copied, trainable=training == "trainable", plain_order=_plain_order(mine.module))
    return link.train(mine.module.training)


def _plain_order(module: nn.Module) -> tuple[str, ...]:
    links = [link for chain in parametrizations_of(module).values() for link in chain]
    orders = [link.plain_order for link in links if isinstance(link, CrossModalWeight)]
    return orders[0] if orders else tuple(module._parameters)
