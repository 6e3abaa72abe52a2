"""Sums of branches that take one input: where they are, and the module whose whole work they are."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from onepath.export.collapse.dataflow import Flow, does_nothing
from onepath.export.collapse.places import Places, inputs_of, value_readers

_SUMS = {operator.add, operator.iadd, torch.add}
_SUM_METHODS = {"add", "add_"}
_IN_PLACE: set[object] = {operator.iadd, "add_"}
_ACTIVATIONS: dict[object, Callable[[], nn.Module]] = {
    functional.relu: nn.ReLU,
    torch.relu: nn.ReLU,
    "relu": nn.ReLU,
    functional.silu: nn.SiLU,
    functional.gelu: nn.GELU,
    torch.sigmoid: nn.Sigmoid,
    torch.tanh: nn.Tanh,
}
"""What a forward may do with a sum itself, called without settings, and the module that does the same."""


@dataclass(frozen=True)
class Branches:
    """A sum of at least two branches that take one input, at least one of them a linear layer or a convolution.

    Attributes:
        module: path of the module whose forward adds.
        branches: for each term, the paths of its layers in order; none for the input itself.
        tail: what the module does with the sum, as `(name, module)`; None if that is not all it does.
    """

    module: str
    branches: tuple[tuple[str, ...], ...]
    tail: tuple[tuple[str, nn.Module], ...] | None


def branches_of(flow: Flow) -> Iterator[Branches]:
    """Return the sums of parallel branches in a flow, in the order of the forward."""
    graph = flow.run.trace.graph
    for node in graph.nodes:
        if not _is_sum(node) or _is_part(flow, node):
            continue
        chains = [_chain(flow, term) for term in _terms(flow, node)]
        starts = {start for start, _ in chains}
        layers = [path for _, paths in chains for path in paths]
        if len(chains) < 2 or len(starts) > 1 or not any(_is_layer(flow.module(path)) for path in layers):
            continue
        module, start = flow.run.trace.inside[node], starts.pop()
        tail = None if _changes_input(flow, node, start) else _tail(flow, module, node, start)
        yield Branches(module, tuple(paths for _, paths in chains), tail)


def _is_sum(node: fx.Node) -> bool:
    named = node.target in (_SUMS if node.op == "call_function" else _SUM_METHODS)
    return node.op in ("call_function", "call_method") and named and len(node.args) == 2 and not node.kwargs


def _is_part(flow: Flow, node: fx.Node) -> bool:
    """Return whether a sum is only added to another one."""
    readers = value_readers(node)
    while len(readers) == 1 and _passes(flow, readers[0]):
        readers = value_readers(readers[0])
    return len(readers) == 1 and _is_sum(readers[0]) and _together(flow, node, readers[0])


def _terms(flow: Flow, node: fx.Node) -> list[fx.Node]:
    """Return what a tree of sums adds, without zeros; the sum itself where it adds another number."""
    terms = list[fx.Node]()
    for argument in node.args:
        if isinstance(argument, fx.Node):
            nested = _nested_sum(flow, node, argument)
            terms += [argument] if nested is None else _terms(flow, nested)
        elif argument != 0:
            return [node]
    return terms


def _changes_input(flow: Flow, node: fx.Node, start: fx.Node) -> bool:
    """Return whether a tree of sums adds to its input in place, which others would see."""
    first = node.args[0]
    if node.target in _IN_PLACE and isinstance(first, fx.Node) and _alias(flow, first) is start:
        return True
    nested = (_nested_sum(flow, node, term) for term in node.args if isinstance(term, fx.Node))
    return any(_changes_input(flow, term, start) for term in nested if term is not None)


def _alias(flow: Flow, node: fx.Node) -> object:
    """Return the node whose value a node's is, through modules that do nothing."""
    while _passes(flow, node):
        before = inputs_of(node)[0]
        if not isinstance(before, fx.Node):
            return before
        node = before
    return node


def _nested_sum(flow: Flow, whole: fx.Node, node: fx.Node) -> fx.Node | None:
    """Return the sum that is one of another's terms, or None; both are in one forward."""
    while len(value_readers(node)) == 1 and _passes(flow, node):
        before = inputs_of(node)[0]
        if not isinstance(before, fx.Node):
            return None
        node = before
    alone = _is_sum(node) and len(value_readers(node)) == 1
    return node if alone and _together(flow, node, whole) else None


def _together(flow: Flow, node: fx.Node, other: fx.Node) -> bool:
    return flow.run.trace.inside[node] == flow.run.trace.inside[other]


def _passes(flow: Flow, node: fx.Node) -> bool:
    return node in flow.run.names and does_nothing(flow.module(flow.run.names[node]))


def _chain(flow: Flow, node: fx.Node) -> tuple[fx.Node, tuple[str, ...]]:
    """Return the node that a term's layers start from, and their paths in order."""
    paths = list[str]()
    names = flow.run.names
    while node in names and len(value_readers(node)) == 1 and _is_linear(flow.module(names[node])):
        before = inputs_of(node)[0]
        if not isinstance(before, fx.Node):
            break
        paths.append(names[node])
        node = before
    return node, tuple(reversed(paths))


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, (nn.Linear, _ConvNd))


def _is_linear(module: nn.Module) -> bool:
    return _is_layer(module) or isinstance(module, _BatchNorm) or does_nothing(module)


def _tail(flow: Flow, path: str, node: fx.Node, start: fx.Node) -> tuple[tuple[str, nn.Module], ...] | None:
    """Return what a module does after a sum; None if it is not branches of its input, their sum and single modules."""
    trace = flow.run.trace
    if trace.taken.get(path) is not start or (path and trace.called[path] != 1):
        return None
    here, tail = trace.returned.get(path), list[tuple[str, nn.Module]]()
    while here is not None and here is not node:
        step = _step_back(flow, path, here)
        if step is None:
            return None
        if not does_nothing(step[1]):
            tail.append(step[:2])
        here = step[2]
    names = {"merged", *dict(tail)}
    distinct = len(names) == len(tail) + 1 and not any("." in name for name in names)
    return tuple(reversed(tail)) if here is node and distinct else None


def _step_back(flow: Flow, path: str, node: fx.Node) -> tuple[str, nn.Module, fx.Node] | None:
    """Return the name and the module that a module's forward calls last before a node, and what it calls it on."""
    found = _followed(flow.run, path, node)
    if found is not None:
        name, before = found
        return name, flow.module(_joined(path, name)), before
    if len(inputs_of(node)) != 1 or not isinstance(before_it := inputs_of(node)[0], fx.Node):
        return None
    own = flow.run.names.get(node, "")
    if own and own.startswith(f"{path}." if path else ""):
        return own.removeprefix(f"{path}."), flow.module(own), before_it
    if flow.run.trace.inside[node] == path and node.target in _ACTIVATIONS and not set(node.kwargs) - {"inplace"}:
        return "activation", _ACTIVATIONS[node.target](), before_it
    return None


def _followed(run: Places, path: str, node: fx.Node) -> tuple[str, fx.Node] | None:
    """Return the name of the module's own child whose forward returned a node, and what it was called on."""
    for child, result in run.trace.returned.items():
        parent, _, name = child.rpartition(".")
        taken = run.trace.taken.get(child)
        if child and parent == path and result is node and taken is not None and taken is not node:
            return (name, taken) if run.trace.called[child] == 1 else None
    return None


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
