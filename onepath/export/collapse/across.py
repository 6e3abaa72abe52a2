"""The rules that fold a layer into a neighbour, again and again until none of them finds anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse.dataflow import flow_of, known_within
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
            folded, left = list[FoldedLayer](), list[LeftLayer]()
            for rule in rules:
                model, some, others = _by_rule(rule, model)
                folded += some
                left += others
                if some:
                    changed(model)
            layers += folded
            if not folded:
                return model, tuple(layers), tuple(dict.fromkeys(left))
    raise UnsupportedModuleError(
        "this model for a collapse",
        f"its rules still fold something after {_ROUNDS} rounds, at last {layers[-1].rule}",
        "give the rules to use, without the one that finds its own result again",
    )


def _by_rule(rule: CollapseRule, model: nn.Module) -> tuple[nn.Module, list[FoldedLayer], list[LeftLayer]]:
    layers, left = list[FoldedLayer](), list[LeftLayer]()
    for path, module in list(_offered(model, "", kinds_across_layers(rule) or (), {})):
        folding = rule(module)
        if folding is None:
            continue
        layers += [folded_within(entry, path) for entry in folding.layers]
        left += [left_within(entry, path) for entry in folding.left]
        model = _replaced(model, module, folding)
    return model, layers, left


def _offered(
    module: nn.Module, path: str, kinds: tuple[type, ...], seen: dict[int, nn.Module]
) -> Iterator[tuple[str, nn.Module]]:
    """Return the outermost modules whose forward can be followed, and on the way to them those that cannot be."""
    if id(module) in seen or not any(isinstance(part, kinds) for part in module.modules()):
        return
    seen[id(module)] = module
    yield path, module
    if not any(module.children()):
        return
    flow = flow_of(module)
    if flow is None:
        parts = [(name, child) for name, child in module._modules.items() if child is not None]
    else:
        parts = [(name, flow.module(name)) for name in flow.containers()]
    for name, part in parts:
        yield from _offered(part, f"{path}.{name}" if path else name, kinds, seen)


def _replaced(model: nn.Module, module: nn.Module, folding: Folding) -> nn.Module:
    if folding.module is module:
        return model
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is module:
                parent._modules[name] = folding.module
    return folding.module if model is module else model
