"""What a forward that cannot be followed looks into: its source tells which modules it does not just call."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache

from torch import nn

_LISTS = (nn.ModuleList, nn.ModuleDict)
_NOT_RUN = {"__init__", "extra_repr", "reset_parameters", "init_weights"}


def looked_into(module: nn.Module) -> set[int]:
    """Return the ids of the modules below a module that its own methods do not just call: they read a part of them.

    Where there is no source to read, these are all its children. Members of a list are taken to be called only.
    """
    children = {id(child) for child in module.children() if not isinstance(child, _LISTS)}
    chains = [chain for kind in _own_classes(module) for chain in _chains(kind)]
    if None in chains:
        return children
    return {found for chain in chains if chain is not None for found in _along(module, chain)}


def _own_classes(module: nn.Module) -> Iterator[type]:
    for kind in type(module).__mro__:
        if issubclass(kind, nn.Module) and not kind.__module__.startswith("torch.nn."):
            yield kind


@cache
def _chains(kind: type) -> tuple[tuple[str, ...] | None, ...]:
    """Return what a class's methods do with attributes of `self`, as steps; None for what is not known."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    except (OSError, TypeError, SyntaxError):
        return (None,)
    methods = [node for node in ast.iter_child_nodes(tree) if isinstance(node, ast.FunctionDef)]
    return tuple(chain for node in methods if node.name not in _NOT_RUN and node.args.args for chain in _in(node))


def _in(method: ast.FunctionDef) -> Iterator[tuple[str, ...] | None]:
    """Return the steps of each use of `self`: attributes, then `[]`, `()` for a call, or `?` for anything else."""
    parents = {child: node for node in ast.walk(method) for child in ast.iter_child_nodes(node)}
    name = method.args.args[0].arg
    for node in ast.walk(method):
        if isinstance(node, ast.Name) and node.id == name:
            steps = list[str]()
            here: ast.AST = node
            while isinstance(parents[here], (ast.Attribute, ast.Subscript)) and _is_value(parents[here], here):
                here = parents[here]
                steps.append(here.attr if isinstance(here, ast.Attribute) else "[]")
            yield (*steps, _use(parents[here], here)) if steps else None


def _is_value(parent: ast.AST, node: ast.AST) -> bool:
    return getattr(parent, "value", None) is node


def _use(parent: ast.AST, node: ast.AST) -> str:
    if isinstance(parent, ast.Call) and parent.func is node:
        return "()"
    compared = isinstance(parent, ast.Compare) and all(isinstance(how, (ast.Is, ast.IsNot)) for how in parent.ops)
    return "is" if compared else "?"


def _along(module: nn.Module, chain: tuple[str, ...]) -> Iterator[int]:
    """Return the modules that the steps of a use look into."""
    here = [module]
    for position, step in enumerate(chain):
        if position and step not in ("()", "is"):
            yield from (id(part) for part in here if _has_parts(part, step))
        further = [part._modules.get(step) if step != "[]" else part for part in here]
        if step == "[]":
            further = [child for part in here for child in part._modules.values()]
        here = [part for part in further if part is not None]


def _has_parts(module: nn.Module, step: str) -> bool:
    """Return whether a step reads more of a module than a number or a word."""
    if isinstance(module, _LISTS):
        return False
    return step in ("[]", "?") or not isinstance(getattr(module, step, None), (bool, int, float, str, tuple))
