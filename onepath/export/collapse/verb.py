"""The one verb: `collapse` gives the single-path form of a model, whatever it was merged by."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from onepath.export.collapse.report import CollapseReport, FoldedLayer, stored_numbers
from onepath.export.collapse.rules import CollapseRule, installed_rules


def collapse(model: nn.Module, *, rules: Sequence[CollapseRule] | None = None) -> tuple[nn.Module, CollapseReport]:
    """Return the model with every extra path folded into its weights, and what was folded.

    The result equals the model in eval mode, in real arithmetic: what is folded has no dropout any more, and a model
    whose dropout would act there is refused. The argument is never changed, also not by a refusal. A model with nothing
    to fold comes back as a copy, so that collapsing twice equals collapsing once.

    Modules that are kept stay in the mode that they are in, a frozen one in eval mode; a module that a rule makes takes
    the mode of the one that it stands for.

    Args:
        model: a merged, fused, re-parameterised or plain model, on any device, in any floating-point precision; a
            proof collapses in float64.
        rules: instead of the installed ones.

    Raises:
        UnsupportedModuleError: a part of the model cannot be folded exactly, or it drops values out in training mode.
    """
    copied = copy.deepcopy(model)
    walk = _Walk(tuple(rules) if rules is not None else installed_rules(), copied)
    collapsed = walk.folded(copied, "")
    return collapsed, CollapseReport(tuple(walk.layers), stored_numbers(model), stored_numbers(collapsed))


class _Walk:
    """A walk over a model from the outside in; it remembers shared modules, so that they stay shared."""

    def __init__(self, rules: tuple[CollapseRule, ...], model: nn.Module) -> None:
        self._rules = rules
        self._seen = {id(module): module for module in model.modules()}  # kept, so that their ids stay their own
        self._done: dict[int, tuple[nn.Module, nn.Module]] = {}
        self.layers: list[FoldedLayer] = []

    def folded(self, module: nn.Module, path: str) -> nn.Module:
        if id(module) in self._done:
            return self._done[id(module)][1]
        result = self._by_rules(module, path)
        self._done[id(module)] = (module, result)  # the module is kept, so that its id stays its own
        self._done[id(result)] = (result, result)
        for name, child in list(result.named_children()):
            setattr_child(result, name, self.folded(child, f"{path}.{name}" if path else name))
        return result

    def _by_rules(self, module: nn.Module, path: str) -> nn.Module:
        for rule in self._rules:
            training = module.training
            folding = rule(module)
            if folding is not None:
                module = folding.module
                self._set_mode(module, training)
                self.layers += [replace(entry, layer=_joined(path, entry.layer)) for entry in folding.layers]
        return module

    def _set_mode(self, module: nn.Module, training: bool) -> None:
        for part in module.modules():
            if id(part) not in self._seen:
                self._seen[id(part)] = part
                part.training = training


def setattr_child(parent: nn.Module, name: str, child: nn.Module) -> None:
    """Put a child in the place of the one of that name; the order of children stays."""
    if parent._modules[name] is not child:
        parent._modules[name] = child


def _joined(path: str, layer: str) -> str:
    return ".".join(part for part in (path, layer) if part)
