"""The rules that fold a layer into a neighbour, again and again until none of them finds anything."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse.calls import other_calls
from onepath.export.collapse.dataflow import Flow, flow_of, known_within
from onepath.export.collapse.looking_in import looked_into
from onepath.export.collapse.report import FoldedLayer, LeftLayer, folded_within, left_within
from onepath.export.collapse.rules import CollapseRule, Folding, kinds_across_layers

_ROUNDS = 100
"""More than any model needs: a round folds all pairs that do not overlap, so that long chains are halved by it."""


def fold_across(
    model: nn.Module, rules: Sequence[CollapseRule]
) -> tuple[nn.Module, tuple[FoldedLayer, ...], tuple[LeftLayer, ...]]:
    """Return the model after the rules, what they folded, and what they left at the end.

    Args:
        model: a copy that may be changed.
        rules: made by `across_layers`, in the order in which they are asked.

    Raises:
        UnsupportedModuleError: a rule refuses, or the rules fold for ever.
    """
    layers: list[FoldedLayer] = []
    with known_within(model) as changed:
        for _ in range(_ROUNDS):
            folded, left, copies = list[FoldedLayer](), list[LeftLayer](), dict[int, _Copied]()
            for rule in rules:
                model, some, others = _by_rule(rule, model, changed, copies)
                folded += some
                left += others
            layers += folded
            if not folded:
                return model, tuple(layers), tuple(dict.fromkeys(left))
    raise UnsupportedModuleError(
        "this model for a collapse",
        f"its rules still fold something after {_ROUNDS} rounds, at last {layers[-1].rule}",
        "give the rules to use, without the one that finds its own result again",
    )


def _by_rule(
    rule: CollapseRule, model: nn.Module, changed: Callable[[nn.Module], None], copies: dict[int, _Copied]
) -> tuple[nn.Module, list[FoldedLayer], list[LeftLayer]]:
    layers, left = list[FoldedLayer](), list[LeftLayer]()
    for path, module, is_whole in list(_offered(_Part(model, ""), kinds_across_layers(rule) or (), set(), {})):
        if not is_whole:
            left += [left_within(entry, path) for entry in _looked_into(rule, module, copies)]
            continue
        before = flow_of(module)
        folding = rule(module)
        if folding is None:
            continue
        layers += [folded_within(entry, path) for entry in folding.layers]
        left += [left_within(entry, path) for entry in folding.left]
        model = _replaced(model, module, folding)
        if folding.layers:
            changed(model)
            if folding.module is module and before is not None:
                _refuse_other_calls(before, module, path, layers[-1].rule)
    return model, layers, left


def _looked_into(rule: CollapseRule, module: nn.Module, copies: dict[int, _Copied]) -> Iterator[LeftLayer]:
    """Return what a rule would fold below a module, of which something around it reads more than its result.

    Args:
        rule: to be asked.
        module: is not changed.
        copies: by the module's id, for the next rule where this one changes nothing: it need not be traced.
    """
    if id(module) not in copies:
        copies[id(module)] = _Copied(module, copy.deepcopy(module))
    folding = rule(copies[id(module)].copied)
    if folding is None:
        return
    del copies[id(module)]
    for entry in folding.layers:
        yield LeftLayer(entry.layer, entry.rule, "a forward around it cannot be followed, and looks into it")
    yield from folding.left


def _refuse_other_calls(before: Flow, module: nn.Module, path: str, rule: str) -> None:
    other = other_calls(before, flow_of(module))
    if other is not None:
        raise UnsupportedModuleError(
            f"the {type(module).__name__} {path}".rstrip(),
            f"it decides by what its parts are, which {rule} changes: {other}",
            f"give the rules to use without {rule}, as collapse(model, rules=[…])",
        )


class _Copied(NamedTuple):
    module: nn.Module  # kept, so that its id stays its own
    copied: nn.Module


class _Part(NamedTuple):
    module: nn.Module
    path: str


def _offered(
    part: _Part, kinds: tuple[type, ...], parted: set[int], seen: dict[int, nn.Module]
) -> Iterator[tuple[str, nn.Module, bool]]:
    """Return the outermost modules whose forward can be followed, and on the way to them those that cannot be.

    With each comes whether it is called as a whole, as far as is known of what is around it.
    """
    module, path = part
    if id(module) in seen or not any(isinstance(below, kinds) for below in module.modules()):
        return
    seen[id(module)] = module
    flow, is_whole = flow_of(module), id(module) not in parted
    if is_whole or flow is not None:
        yield path, module, is_whole or not any(module.children())
    if not any(module.children()):
        return
    if flow is None or not is_whole:
        parted = parted | looked_into(module)
        parts = [(name, child) for name, child in module._modules.items() if child is not None]
    else:
        parts = [(name, flow.module(name)) for name in flow.containers()]
    for name, child in parts:
        yield from _offered(_Part(child, f"{path}.{name}" if path else name), kinds, parted, seen)


def _replaced(model: nn.Module, module: nn.Module, folding: Folding) -> nn.Module:
    if folding.module is module:
        return model
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is module:
                parent._modules[name] = folding.module
    return folding.module if model is module else model
