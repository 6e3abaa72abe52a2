"""What one symbolic run tells about each leaf module: where its input comes from, and who reads its output."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import fx, nn
from torch.nn import functional

from onepath.export.collapse.tracing import LAYERS, Trace

_SHAPE_ATTRIBUTES = {"shape", "dtype", "device", "ndim"}
_SHAPE_METHODS = {"size", "dim", "numel", "ndimension"}
_CORES: dict[Any, tuple[str, ...]] = {  # Any: functions of torch, of many signatures
    functional.batch_norm: ("running_mean", "running_var", "weight", "bias"),
    functional.layer_norm: ("weight", "bias"),
    functional.rms_norm: ("weight",),
}
"""What a norm with a forward of its own calls, with the tensors that are its own."""


@dataclass(frozen=True)
class Place:
    """Where a leaf that is called once stands: the leaf behind each input, and the leaves that read its output."""

    inputs: tuple[str | None, ...]
    consumers: tuple[str, ...] | None


@dataclass(frozen=True)
class Places:
    """The leaves of one run.

    Attributes:
        trace: the run.
        names: the path of the leaf that a node calls.
        cores: norms whose own forward calls their function, with whatever it does after it.
        once: what is known of the leaves that are called exactly once, in order.
    """

    trace: Trace
    names: dict[fx.Node, str]
    cores: frozenset[str]
    once: dict[str, Place]


def places_of(modules: dict[str, nn.Module], trace: Trace) -> Places:
    """Return what a run tells about each leaf.

    Args:
        modules: path to module.
        trace: the run.
    """
    cores = {node: trace.inside[node] for node in trace.graph.nodes if _is_core(modules, trace, node)}
    names = {node: str(node.target) for node in trace.graph.nodes if node.op == "call_module"} | cores
    names = {node: names[node] for node in trace.graph.nodes if node in names}
    times = Counter(names.values())
    once = {path: _place(node, names) for node, path in names.items() if times[path] == 1}
    return Places(trace, names, frozenset(cores.values()), once)


def inputs_of(node: fx.Node) -> Sequence[object]:
    """Return what a node is called on: all arguments of a module, the first one of a function."""
    arguments = [*node.args, *node.kwargs.values()]
    return arguments if node.op == "call_module" else arguments[:1]


def value_readers(node: fx.Node) -> list[fx.Node]:
    """Return the nodes that read a node's values, and not its shape or type only."""
    return [user for user in node.users if not _reads_shape(user)]


def _place(node: fx.Node, names: dict[fx.Node, str]) -> Place:
    readers = value_readers(node)
    direct = all(user in names and inputs_of(user)[0] is node for user in readers)
    consumers = tuple(dict.fromkeys(names[user] for user in readers)) if direct else None
    inputs = tuple(names.get(part) if isinstance(part, fx.Node) else None for part in inputs_of(node))
    return Place(inputs, consumers)


def _reads_shape(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in _SHAPE_METHODS
    return node.op == "call_function" and node.target is getattr and node.args[1] in _SHAPE_ATTRIBUTES


def _is_core(modules: dict[str, nn.Module], trace: Trace, node: fx.Node) -> bool:
    """Return whether a node calls a norm's function on all that the norm around it holds, and nothing else."""
    if node.op != "call_function" or node.target not in _CORES:
        return False
    path = trace.inside[node]
    module = cast(Any, modules[path])  # one of several norms
    if not path or not isinstance(module, LAYERS):
        return False
    given = inspect.signature(cast(Callable[..., object], node.target)).bind(*node.args, **node.kwargs)
    given.apply_defaults()
    own = all(_is_own(given.arguments[name], module, path, name) for name in _CORES[node.target])
    mode = module.training and not trace.evaluated
    usual = given.arguments.get("training", mode) is mode
    return own and usual and given.arguments["eps"] == module.eps


def _is_own(argument: object, module: nn.Module, path: str, name: str) -> bool:
    if isinstance(argument, fx.Node):
        return argument.op == "get_attr" and argument.target == f"{path}.{name}"
    return argument is None and getattr(module, name, None) is None
