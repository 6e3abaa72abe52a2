"""How often a model has each of its modules and tensors: what it has once can be changed with no one noticing."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils import parametrize

from onepath.export.collapse.tracing import LAYERS, has_hooks

_TABLES = {"_modules", "_parameters", "_buffers"}


@dataclass(frozen=True)
class Usage:
    """How often a model has each module and each tensor.

    Attributes:
        paths: id of a module -> at how many paths it is, and in how many other attributes, such as a list.
        owners: key of a tensor -> how many modules hold it.
    """

    paths: Counter[int]
    owners: Counter[int]

    @staticmethod
    def of(model: nn.Module) -> Usage:
        """Return the usage in a whole model."""
        paths = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
        values = [value for module in model.modules() for name, value in vars(module).items() if name not in _TABLES]
        for held in _modules_in(values):
            paths.update(id(part) for part in held.modules())
        tensors = (tensor for module in model.modules() for tensor in _tensors_held(module))
        return Usage(paths, Counter(_key(tensor) for tensor in tensors))

    def obstacle(self, root: nn.Module, part: nn.Module) -> str | None:
        """Return why a part that the root calls once cannot be changed without others noticing; None if it can."""
        if self.paths[id(part)] > self.paths[id(root)]:
            return "it is used elsewhere too"
        if parametrize.is_parametrized(part):
            return "its weight is computed by a parametrisation"
        if has_hooks(part):
            return "a hook sees its input or output"
        if "__call__" in {name for kind in type(part).__mro__ if kind is not nn.Module for name in vars(kind)}:
            return "its class has a __call__ of its own"
        tied = next((name for name, tensor in tensors_of(part) if self.owners[_key(tensor)] > 1), None)
        return _not_its_own(part) if tied is None else f"its {tied} is tied to another module's"


def tensors_of(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Return the parameters and buffers of a module and its sub-modules, by name."""
    return [*module.named_parameters(), *module.named_buffers()]


def _modules_in(values: list[object]) -> Iterator[nn.Module]:
    """Return the modules in lists, tuples, sets, dicts, partial calls and bound methods, as often as they are there."""
    seen = set[int]()
    while values:
        value = values.pop()
        if isinstance(value, nn.Module):
            yield value
        elif isinstance(value, (list, tuple, set, frozenset, Mapping)) and id(value) not in seen:
            seen.add(id(value))
            values.extend(value.values() if isinstance(value, Mapping) else value)
        elif isinstance(value, functools.partial):
            values.extend([value.func, *value.args, *value.keywords.values()])
        elif isinstance(owner := getattr(value, "__self__", None), nn.Module):
            yield owner


def _tensors_held(module: nn.Module) -> list[Tensor]:
    held = (*module._parameters.values(), *module._buffers.values(), *vars(module).values())
    return [tensor for tensor in held if isinstance(tensor, Tensor)]


def _key(tensor: Tensor) -> int:
    """Return what two tensors have in common that are changed together: of a buffer the memory, which views share."""
    return id(tensor) if isinstance(tensor, nn.Parameter) else tensor.untyped_storage()._cdata


def _not_its_own(part: nn.Module) -> str | None:
    if not isinstance(part, LAYERS):
        return None
    for name in ("weight", "bias"):
        tensor = getattr(part, name, None)
        if tensor is not None and not any(tensor is held.get(name) for held in (part._parameters, part._buffers)):
            return f"its {name} is computed from something else"
        if tensor is not None and name in part._buffers and tensor.untyped_storage().nbytes() != tensor.nbytes:
            return f"its {name} is a part of another tensor"
        if tensor is not None and tensor.is_meta:
            return f"its {name} has no data"
    return None
