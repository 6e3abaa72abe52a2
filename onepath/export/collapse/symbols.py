"""What stands for a value in a symbolic run: it answers what a tensor would, and refuses to guess."""

from __future__ import annotations

import copy
import operator
import sys
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_ASKERS = ("torch.fx", "torch.utils", "torch.overrides", "torch._", "onepath.export.collapse.")
"""Modules, by the beginning of their names, that ask a symbol for its class to handle it, and not to decide by it."""
_ON_BEHALF = ("abc", "torch.nn.parameter")
"""Modules whose classes have an `isinstance` of their own: who calls it asks."""

_NO_TENSOR = (nn.RNNBase, nn.MultiheadAttention, nn.AdaptiveLogSoftmaxWithLoss)
_FUNCTIONS = (functional.relu, functional.gelu, functional.silu, functional.dropout, functional.linear)


class Symbol(fx.Proxy):
    """A value in a trace.

    A forward may ask whether it is a tensor. Of the result of a layer that is known; elsewhere, as of an input, it is
    not, and a forward that decides by it cannot be followed.
    """

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        if _asks_to_handle():
            return type(self)
        if not is_tensor(self):
            raise fx.proxy.TraceError("the forward decides by the class of a value that is not known")
        return Tensor

    def __getattr__(self, k: str) -> Any:  # what a tensor has of that name
        if is_tensor(self) and not hasattr(Tensor, k):
            raise AttributeError(f"'Tensor' object has no attribute {k!r}")
        return super().__getattr__(k)

    def __iadd__(self, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})


class TensorSymbol(Symbol):
    """A parameter or buffer in a trace: its numbers are symbols, its shape and type are known."""

    def __init__(self, node: fx.Node, tracer: fx.Tracer, tensor: Tensor) -> None:
        super().__init__(node, tracer)
        with torch._C.DisableTorchFunction():  # so that it does not count as seen
            self.shape, self.ndim = tensor.shape, tensor.ndim
            self.dtype, self.device, self.requires_grad = tensor.dtype, tensor.device, tensor.requires_grad
            self.size, self.dim, self.numel = tensor.size, tensor.dim, tensor.numel


def is_tensor(symbol: fx.Proxy) -> bool:
    """Return whether a symbol is known to stand for a tensor."""
    node = symbol.node
    if node.op == "call_module":
        root: nn.Module = cast(fx.Tracer, symbol.tracer).root
        module = root.get_submodule(str(node.target))
        return type(module).__module__.startswith("torch.nn.") and not isinstance(module, _NO_TENSOR)
    return node.op == "get_attr" or (node.op == "call_function" and node.target in _FUNCTIONS)


class TensorsSeen(TorchFunctionMode):
    """Notes the ids of tensors that are given to functions of torch as they are, past a trace's symbols."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[int] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # torch's own types
        fx.node.map_aggregate((args, kwargs or {}), self._note)
        return func(*args, **(kwargs or {}))

    def _note(self, value: Any) -> Any:  # whatever a function of torch is given
        if isinstance(value, Tensor):
            self.ids.add(id(value))
        return value


def without_numbers(module: nn.Module) -> nn.Module:
    """Return a copy of the module whose parameters and buffers have a shape and no numbers."""
    memo: dict[int, Any] = {}  # what deepcopy takes
    for part in module.modules():
        for parameter in part._parameters.values():
            if parameter is not None and id(parameter) not in memo:
                shape = torch.empty_like(parameter, device="meta")
                memo[id(parameter)] = nn.Parameter(shape, requires_grad=parameter.requires_grad)
        for tensor in (*part._buffers.values(), *vars(part).values()):
            if isinstance(tensor, Tensor) and id(tensor) not in memo:
                memo[id(tensor)] = torch.empty_like(tensor, device="meta")
    return copy.deepcopy(module, memo)


def _asks_to_handle() -> bool:
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__") in _ON_BEHALF:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__")).startswith(_ASKERS)
