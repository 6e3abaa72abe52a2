"""Naming the weights of a model: dotted paths to parameters, whether they are parametrised or not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.utils import parametrize

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.parametrization import CrossModalWeight

_BLOCK_INDEX = re.compile(r"(?:^|(?<=\.))(\d+)(?=\.)")


@dataclass(frozen=True)
class WeightAddress:
    """Where a weight is.

    Attributes:
        path: dotted path in the model, such as `blocks.0.attn.qkv.weight`.
        module: that holds it.
        tensor_name: its name there.
    """

    path: str
    module: nn.Module
    tensor_name: str

    @property
    def value(self) -> Tensor:
        """The weight as the module uses it now."""
        return cast(Tensor, getattr(self.module, self.tensor_name))

    @property
    def layer(self) -> str:
        """The path of the module; that of the tensor itself where it is not called `weight`."""
        return self.path.removesuffix(".weight")

    @property
    def output_axis(self) -> int:
        """The axis that counts output features: 1 where a `Conv1D`, as in GPT-2, keeps its weight transposed."""
        return int(_is_transposed(self.module) and self.tensor_name == "weight")


def weights_of(model: nn.Module) -> dict[str, WeightAddress]:
    """Return every parameter of a model by its path, those that are parametrised under their plain names."""
    return {address.path: address for name, module in plain_modules(model) for address in _own_weights(name, module)}


def linear_weights_of(model: nn.Module) -> dict[str, WeightAddress]:
    """Return the weights of linear layers and the packed projections of multi-head attention, by path."""
    return {path: address for path, address in weights_of(model).items() if _is_linear(address)}


def find_weight(model: nn.Module, name: str, *, role: str) -> WeightAddress:
    """Return the weight of a layer, or the parameter, that has this path.

    Args:
        model: to look in.
        name: path of a parameter; of a module with a `weight`; or of an `nn.MultiheadAttention`.
        role: what the model is, for the message.

    Raises:
        UnsupportedModuleError: there is none.
    """
    known = weights_of(model)
    for path in (name, f"{name}.weight", f"{name}.in_proj_weight"):
        if path in known:
            return known[path]
    raise UnsupportedModuleError(
        name,
        f"the {role} has no layer with a weight, and no parameter, of this path",
        "take a path from named_parameters()",
    )


def computed_layers(model: nn.Module) -> dict[str, str]:
    """Return the linear layers whose weight is no parameter but computed by a hook before each call, and from what."""
    linear = ((name, module) for name, module in plain_modules(model) if _is_linear_class(module))
    return {name: held for name, module in linear if (held := _computed_from(module))}


def refuse_computed(model: nn.Module, layer: str) -> None:
    """Refuse a layer whose weight a hook computes before each call, as pruning and the old weight norm do.

    Raises:
        UnsupportedModuleError: it is one.
    """
    source = computed_layers(model).get(layer)
    if source:
        raise UnsupportedModuleError(
            layer,
            f"its weight is already parametrised by something else: a hook computes it from {source}",
            "make it permanent first, as torch.nn.utils.prune.remove does",
        )


def plain_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield path and module of everything but what parametrisations are made of."""
    for name, module in model.named_modules(remove_duplicate=False):
        if "parametrizations" not in name.split("."):
            yield name, module


def cross_modal_chain(module: nn.Module, tensor_name: str) -> tuple[CrossModalWeight, ...] | None:
    """Return the auxiliaries attached to a tensor in order; None if it has a parametrisation of another kind."""
    if not parametrize.is_parametrized(module, tensor_name):
        return ()
    links = tuple(parametrizations_of(module)[tensor_name])
    chain = tuple(link for link in links if isinstance(link, CrossModalWeight))
    return chain if len(chain) == len(links) else None


def parametrizations_of(module: nn.Module) -> Any:  # torch's lists, whose attributes it sets at run time
    """Return the parametrisations of a module by the tensor's name; an empty mapping if it has none."""
    return module.parametrizations if parametrize.is_parametrized(module) else {}


def own_class(module: nn.Module) -> None:
    """Give a parametrised module a class of its own, before its parametrisations change.

    torch keeps a parametrised tensor as a property of a class made for the module, and a deep copy shares that class:
    a change to one would break the other.
    """
    if parametrize.is_parametrized(module):
        shared = type(module)
        body = {key: value for key, value in vars(shared).items() if key not in ("__dict__", "__weakref__")}
        module.__class__ = type(shared.__name__, shared.__bases__, body)


def block_template(path: str) -> str:
    """Return the path with its first block index replaced by `{i}`.

    >>> block_template("blocks.11.mlp.fc1.weight")
    'blocks.{i}.mlp.fc1.weight'
    """
    return _BLOCK_INDEX.sub("{i}", path, count=1)


def block_index(path: str) -> int | None:
    """Return the first block index in a path, or None.

    >>> block_index("blocks.11.mlp.0.weight")
    11
    """
    found = _BLOCK_INDEX.search(path)
    return int(found.group(1)) if found else None


def _own_weights(prefix: str, module: nn.Module) -> Iterator[WeightAddress]:
    names = [name for name, _ in module.named_parameters(recurse=False)]
    names += list(parametrizations_of(module))
    for name in names:
        yield WeightAddress(f"{prefix}.{name}" if prefix else name, module, name)


def _is_linear(address: WeightAddress) -> bool:
    if _is_linear_class(address.module):
        return address.tensor_name == "weight"
    return isinstance(address.module, nn.MultiheadAttention) and address.tensor_name == "in_proj_weight"


def _is_linear_class(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or _is_transposed(module)


def _is_transposed(module: nn.Module) -> bool:
    """Tell the linear layer of transformers that keeps (inputs, outputs), without importing transformers."""
    return any(cls.__name__ == "Conv1D" for cls in type(module).__mro__) and hasattr(module, "nf")


def _computed_from(module: nn.Module) -> str:
    if "weight" in module._parameters or parametrize.is_parametrized(module, "weight"):
        return ""
    return " and ".join(name for name in module._parameters if name.startswith("weight_"))
