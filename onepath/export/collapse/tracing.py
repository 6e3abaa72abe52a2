"""One symbolic run of a module's forward, on a copy without numbers: which sub-modules it calls, and on what."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock, get_ident
from typing import Any

from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _NormBase

from onepath.export.collapse.symbols import Symbol, TensorsSeen, TensorSymbol, without_numbers

LAYERS = (nn.Linear, nn.modules.conv._ConvNd, _NormBase, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)
"""Classes whose sub-classes count as layers too, where their forward is the inherited one."""

_OWN = ("torch.nn.", "torch.ao.nn.")
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_ONE_AT_A_TIME = Lock()
"""Of a trace: torch replaces what every module's call does meanwhile, and puts back what it found."""


@dataclass(frozen=True)
class Trace:
    """What one symbolic run saw.

    Attributes:
        graph: its nodes; a `call_module` for each call of a layer or of a module that could not be followed.
        called: how often each sub-module was called, at any depth.
        opaque: paths of the modules whose own forward could not be followed.
        read: names of the parameters and buffers that the forward of another module than theirs read.
        inside: path of the innermost module whose forward made a node.
        taken: the node that a followed module was called on, where that was its only argument; also of the root, "".
        returned: the node that a followed module's forward returned, where it returned one value; also of the root.
        evaluated: the run was in eval mode, whatever mode the modules are in.
    """

    graph: fx.Graph
    called: Counter[str]
    opaque: frozenset[str]
    read: frozenset[str]
    inside: dict[fx.Node, str]
    taken: dict[str, fx.Node]
    returned: dict[str, fx.Node]
    evaluated: bool


def trace_of(
    root: nn.Module, leaves: tuple[type, ...], closed: frozenset[str], *, given: bool = False, evaluated: bool = False
) -> Trace | None:
    """Return what a symbolic run of the forward saw, or None where it cannot be followed.

    Nothing of the module changes, and no hook runs: the forward runs on a copy whose tensors have shapes only.

    Args:
        root: the module.
        leaves: more classes that are not looked into.
        closed: paths of modules that are not looked into.
        given: optional arguments are given, and flags turned over; else they have their defaults.
        evaluated: in eval mode, whatever mode the modules are in.
    """
    if "forward" in vars(root) or type(root).forward is nn.Module.forward:
        return None
    try:
        tracer = _Tracer(leaves, closed, given=given)
        skeleton = without_numbers(root)
        graph = tracer.traced(skeleton.eval() if evaluated else skeleton)
    except Exception:  # noqa: BLE001 - whatever a user's forward raises on symbols: it cannot be followed
        return None
    tracer.note_root()
    return Trace(
        graph=graph,
        called=tracer.called,
        opaque=frozenset(tracer.opaque),
        read=frozenset(tracer.read),
        inside=tracer.inside,
        taken=tracer.taken,
        returned=tracer.returned,
        evaluated=evaluated,
    )


def is_leaf(module: nn.Module) -> bool:
    """Return whether a trace stops at a module: one of torch's, but no container, or one that inherits its forward."""
    if isinstance(module, _CONTAINERS) or "forward" in vars(module):
        return False
    return type(module).__module__.startswith(_OWN) or (isinstance(module, LAYERS) and inherits_forward(module))


def inherits_forward(module: nn.Module) -> bool:
    """Return whether a module computes what torch's class of that name does."""
    if "forward" in vars(module):
        return False
    methods = (getattr(type(module), name, None) for name in ("forward", "_conv_forward", "__call__"))
    return all(method is None or method.__module__.startswith("torch.nn.modules.") for method in methods)


def has_options(module: nn.Module) -> bool:
    """Return whether the module's forward has optional arguments."""
    parameters = inspect.signature(type(module).forward).parameters.values()
    return any(parameter.default is not parameter.empty for parameter in parameters)


def has_hooks(module: nn.Module) -> bool:
    """Return whether a hook of the module sees its inputs, its outputs or their gradients."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, name, None) for name in hooks)


def hook_barrier(value: object) -> object:
    """Return the value; in a trace it stands between a module with hooks and its neighbours."""
    return value


class _Tracer(fx.Tracer):
    """A tracer that changes nothing, calls no hook, and passes modules over that it cannot follow."""

    def __init__(self, leaves: tuple[type, ...], closed: frozenset[str], *, given: bool) -> None:
        super().__init__()
        self._leaves, self._closed, self._given = leaves, closed, given
        self._within, self._thread = [""], get_ident()
        self._names: dict[int, str] = {}
        self.called: Counter[str] = Counter()
        self.opaque: set[str] = set()
        self.read: set[str] = set()
        self.inside: dict[fx.Node, str] = {}
        self.taken: dict[str, fx.Node] = {}
        self.returned: dict[str, fx.Node] = {}

    def traced(self, root: nn.Module) -> fx.Graph:
        """Return the graph of a root's forward."""
        with _ONE_AT_A_TIME, TensorsSeen() as seen:
            graph = self.trace(root)
        # A tensor that comes by another way than its name, as from `parameters()`, may be read by anyone.
        self.read |= {name for key, name in self._names.items() if key in seen.ids}
        return graph

    def note_root(self) -> None:
        inputs = [node for node in self.graph.nodes if node.op == "placeholder"]
        result = next(node for node in self.graph.nodes if node.op == "output").args[0]
        if len(inputs) == 1:
            self.taken[""] = inputs[0]
        if isinstance(result, fx.Node):
            self.returned[""] = result

    def create_args_for_root(
        self,
        root_fn: Callable[..., Any],
        is_module: bool,
        concrete_args: dict[str, Any] | tuple[Any, ...] | None = None,
    ) -> tuple[Any, list[Any]]:
        tensors = [*self.root.named_parameters(remove_duplicate=False), *self.root.named_buffers()]
        self._names = {id(tensor): name for name, tensor in tensors}
        parameters = list(inspect.signature(root_fn).parameters.values())[1:]
        named = {p.name: self._argument(p) for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        first = [named.pop(p.name) for p in parameters if p.kind is p.POSITIONAL_ONLY]

        def call() -> Any:  # what the forward returns
            return root_fn(self.root, *first, **named)

        return call, []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._leaves) or is_leaf(m) or module_qualified_name in self._closed

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:  # what the module returns
        if get_ident() != self._thread:
            return forward(*args, **kwargs)
        path = self.path_of_module(m)
        self.called[path] += 1
        if self.is_leaf_module(m, path):
            return self.create_proxy("call_module", path, args, kwargs)
        last, depth = next(iter(reversed(self.graph.nodes)), None), len(self._within)
        self._within.append(path)
        try:
            value = self._followed(m, args, kwargs)
            self._note_call(path, [*args, *kwargs.values()], value)
            return value
        except Exception:  # noqa: BLE001 - see trace_of
            self._erase_after(last)
            self.opaque.add(path)
            del self._within[depth:]
            return self.create_proxy("call_module", path, args, kwargs)
        finally:
            del self._within[depth:]

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:  # of a module
        name = self._names.get(id(attr_val))
        if name is None or get_ident() != self._thread:
            return attr_val
        if name.rpartition(".")[0] != self._within[-1]:
            self.read.add(name)
        return TensorSymbol(self.create_node("get_attr", name, (), {}), self, attr_val)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Symbol(node, self)

    def create_arg(self, a: Any) -> Any:  # torch's own types
        if isinstance(a, Tensor):
            return self.create_node("get_attr", self._names.get(id(a), "constant"), (), {})
        return super().create_arg(a)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:  # torch's own types
        node = super().create_node(*args, **kwargs)
        self.inside[node] = self._within[-1]
        return node

    def _note_call(self, path: str, arguments: list[object], value: object) -> None:
        if len(arguments) == 1 and isinstance(arguments[0], fx.Proxy):
            self.taken[path] = arguments[0].node
        if isinstance(value, fx.Proxy):
            self.returned[path] = value.node

    def _argument(self, parameter: inspect.Parameter) -> object:
        if self._given and isinstance(parameter.default, bool):
            return not parameter.default
        if parameter.default is parameter.empty or self._given:
            return self.create_proxy("placeholder", parameter.name, (), {})
        return parameter.default

    def _followed(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # what it returns
        if "forward" in vars(module):
            raise TypeError(f"the forward of this {type(module).__name__} was replaced")
        if not has_hooks(module):
            return module.forward(*args, **kwargs)
        return self._fenced(module.forward(*self._fenced(args), **self._fenced(kwargs)))

    def _fenced(self, value: Any) -> Any:  # any nesting of proxies
        return fx.node.map_aggregate(value, lambda part: self._fence(part) if isinstance(part, fx.Proxy) else part)

    def _fence(self, proxy: fx.Proxy) -> fx.Proxy:
        return self.create_proxy("call_function", hook_barrier, (proxy,), {})

    def _erase_after(self, last: fx.Node | None) -> None:
        for node in reversed(list(self.graph.nodes)):
            if node is last:
                return
            self.graph.erase_node(node)
