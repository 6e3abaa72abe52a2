"""Attaching auxiliary weights to a target, all of a plan or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from torch import nn
from torch.nn.utils import parametrize

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.additions import additions
from onepath.merging.reparameterization.checks import check_plan
from onepath.merging.reparameterization.pairing import Layers, PairingOptions, plan_reparameterization
from onepath.merging.reparameterization.plan import Plan
from onepath.merging.reparameterization.weights import cross_modal_chain, own_class, weights_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

Training = Literal["trainable", "frozen"]


def reparameterize(
    target: nn.Module,
    auxiliary: nn.Module,
    *,
    layers: Layers | None = None,
    training: Training = "trainable",
    name: str | None = None,
    **options: Unpack[PairingOptions],
) -> Plan:
    """Give the target's linear layers a second path through the auxiliary's weights, in place, and return the plan.

    The target's outputs are unchanged until the scales λ, 0 at the start, are trained. The auxiliary is copied.

    Args:
        target: the model to extend; calling this again with another auxiliary extends it further.
        auxiliary: any model with weights of the same shapes.
        layers: which ones; see `plan_reparameterization`.
        training: whether the auxiliary weights are trained too, or only the scales.
        name: what reports call the auxiliary, such as the modality that it was trained on.
        options: how they are paired; see `PairingOptions`.

    Raises:
        UnsupportedModuleError: a pair cannot be treated exactly; the target is then as it was.

    >>> plan = reparameterize(nn.Sequential(nn.Linear(2, 3)), nn.Sequential(nn.Linear(2, 3)))
    >>> print(plan)
    0.weight += λ · 0.weight (3, 2)
    """
    plan = plan_reparameterization(target, auxiliary, layers=layers, **options)
    attach(plan, target, auxiliary, training=training, name=name)
    return plan


def attach(
    plan: Plan,
    target: nn.Module,
    auxiliary: nn.Module,
    *,
    training: Training = "trainable",
    share_storage: bool = False,
    name: str | None = None,
) -> None:
    """Attach the auxiliary's weights to the target's as the plan says, in place.

    Args:
        plan: made by `plan_reparameterization`, or by hand.
        target: keeps its classes' behaviour, precision, device, hooks and flags.
        auxiliary: its weights are copied.
        training: whether the copies are trained.
        share_storage: use the auxiliary's own memory instead of a copy; only frozen, and only where a weight has the
            target's precision and device and comes from one place. The auxiliary must then not change.
        name: what reports call the auxiliary, such as the modality that it was trained on.

    Raises:
        UnsupportedModuleError: the plan does not fit, or `training` is unknown; the target is then as it was.
    """
    if training not in get_args(Training):
        raise UnsupportedModuleError(f"training={training!r}", "it is unknown", "choose trainable or frozen")
    if share_storage and training != "frozen":
        raise UnsupportedModuleError(
            "shared storage", "training would change the auxiliary model too", 'choose training="frozen", or a copy'
        )
    check_plan(plan, target, auxiliary)
    found = additions(plan, target, auxiliary, share_storage=share_storage)
    links = [(entry.address, entry.link(trainable=training == "trainable", name=name)) for entry in found]
    for address, link in links:
        own_class(address.module)
        parametrize.register_parametrization(address.module, address.tensor_name, link)


def scales(model: nn.Module) -> dict[str, tuple[float, ...]]:
    """Return the scales λ of each re-parameterised weight and bias, one an auxiliary, by the parameter's path.

    Parts of one weight that have a λ each are listed one after the other.
    """
    chains = {path: cross_modal_chain(a.module, a.tensor_name) for path, a in weights_of(model).items()}
    return {path: tuple(link.scale.item() for link in chain) for path, chain in chains.items() if chain}
