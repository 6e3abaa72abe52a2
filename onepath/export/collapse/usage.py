"""How often a model has each of its modules and tensors: what it has once can be changed with no one noticing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils import parametrize

from onepath.export.collapse.tracing import has_hooks


@dataclass(frozen=True)
class Usage:
    """How often a model has each module and each tensor.

    Attributes:
        paths: id of a module -> at how many paths it is.
        owners: id of a tensor -> how many modules hold it.
    """

    paths: Counter[int]
    owners: Counter[int]

    @staticmethod
    def of(model: nn.Module) -> Usage:
        """Return the usage in a whole model."""
        paths = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
        held = (t for m in model.modules() for t in (*m._parameters.values(), *m._buffers.values()))
        return Usage(paths, Counter(id(tensor) for tensor in held if tensor is not None))

    def obstacle(self, root: nn.Module, part: nn.Module) -> str | None:
        """Return why a part that the root calls once cannot be changed without others noticing; None if it can."""
        if self.paths[id(part)] > self.paths[id(root)]:
            return "it is used elsewhere too"
        if parametrize.is_parametrized(part):
            return "its weight is computed by a parametrisation"
        if has_hooks(part):
            return "a hook sees its input or output"
        tied = next((name for name, tensor in tensors_of(part) if self.owners[id(tensor)] > 1), None)
        return None if tied is None else f"its {tied} is tied to another module's"


def tensors_of(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Return the parameters and buffers of a module and its sub-modules, by name."""
    return [*module.named_parameters(), *module.named_buffers()]
