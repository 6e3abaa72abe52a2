"""Finding the parameters of a model that adapters are attached to."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.utils import parametrize

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.adapters.parametrization import Link, LowRankWeight, ShiftedBias
from onepath.merging.reparameterization.weights import WeightAddress, parametrizations_of, weights_of


def attached_adapters(model: nn.Module) -> dict[str, tuple[LowRankWeight, ...]]:
    """Return the adapters of each weight that has some, in the order in which they act, by the weight's path.

    Raises:
        UnsupportedModuleError: a parameter with an adapter is parametrised by something else too.
    """
    chains = {address.path: links_of(address.module, address.tensor_name) for address in adapted_parameters(model)}
    weights = {
        path: tuple(link for link in chain or () if isinstance(link, LowRankWeight)) for path, chain in chains.items()
    }
    return {path: chain for path, chain in weights.items() if chain}


def adapted_parameters(model: nn.Module) -> list[WeightAddress]:
    """Return the parameters that adapters are attached to, each once, by its first path.

    Raises:
        UnsupportedModuleError: one of them is parametrised by something else too.
    """
    found: dict[tuple[int, str], WeightAddress] = {}
    for address in weights_of(model).values():
        found.setdefault((id(address.module), address.tensor_name), address)
    return [address for address in found.values() if _is_adapted(address)]


def links_of(module: nn.Module, tensor_name: str) -> tuple[Link, ...] | None:
    """Return what this package attached to a tensor; None if something else is attached too."""
    if not parametrize.is_parametrized(module, tensor_name):
        return ()
    links: Sequence[nn.Module] = tuple(parametrizations_of(module)[tensor_name])
    own = tuple(link for link in links if isinstance(link, LowRankWeight | ShiftedBias))
    return own if len(own) == len(links) else None


def bias_of(address: WeightAddress) -> WeightAddress:
    """Return the bias that goes with a weight.

    Raises:
        UnsupportedModuleError: there is none.
    """
    name = address.tensor_name.removesuffix("weight") + "bias"
    if getattr(address.module, name, None) is None:
        raise UnsupportedModuleError(
            address.layer, "the adapter shifts its bias, and it has none", "give the layer a bias of zeros"
        )
    return WeightAddress(address.path.removesuffix(address.tensor_name) + name, address.module, name)


def _is_adapted(address: WeightAddress) -> bool:
    links = links_of(address.module, address.tensor_name)
    if links is not None:
        return bool(links)
    chain = parametrizations_of(address.module)[address.tensor_name]
    if any(isinstance(link, LowRankWeight | ShiftedBias) for link in chain):
        raise UnsupportedModuleError(
            address.layer, "it has an adapter and is parametrised by something else too", "collapse the other one first"
        )
    return False
