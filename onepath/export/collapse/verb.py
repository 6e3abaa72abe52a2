"""The one verb: `collapse` gives the single-path form of a model, whatever it was merged by."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

from torch import nn
from torch.nn.parameter import is_lazy

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse.across import fold_across
from onepath.export.collapse.flops import Example, flops_by_module
from onepath.export.collapse.layer_costs import Costs, counted_layers
from onepath.export.collapse.positions import positions_known
from onepath.export.collapse.report import (
    CollapseReport,
    FoldedLayer,
    LeftLayer,
    folded_within,
    left_within,
    stored_numbers,
)
from onepath.export.collapse.rules import CollapseRule, kinds_across_layers, rules_from


def collapse(
    model: nn.Module,
    *,
    rules: Sequence[CollapseRule | str] | None = None,
    also: Sequence[str] = (),
    example: Example | None = None,
) -> tuple[nn.Module, CollapseReport]:
    """Return the model with every extra path folded into its weights, and what was folded.

    The result equals the model in eval mode, in real arithmetic: what is folded has no dropout any more, and a model
    whose dropout would act there is refused. The argument is never changed, also not by a refusal. A model with nothing
    to fold comes back as a copy, so that collapsing twice equals collapsing once.

    Equal is what a call of the model returns, not what is read from inside of it. Three things no look at a model
    tells, and a proof on its inputs does: layers are taken to be called with optional arguments all at their defaults
    or all given; the parts of a forward that decides by values, to be called as a whole; and what goes from a linear
    layer to a batch normalization, or back, to be `(rows, features)`, where no example shows it to be something else.

    Rules for single modules come first, from the outside in; then those that fold a layer into a neighbour, in the
    order of their names, again until none of them finds anything.

    Modules that are kept stay in the mode that they are in, a frozen one in eval mode, with their hooks, classes and
    `requires_grad`; a module that a rule makes takes the mode of the one that it stands for.

    Args:
        model: a merged, fused, re-parameterised or plain model, on any device, in any floating-point precision; a
            proof collapses in float64.
        rules: rules or their names, instead of all installed ones but those of `OPT_IN`.
        also: names of rules of `OPT_IN`, such as `norm_into_linear`, besides the others and in the same order; what
            they could fold is neither folded nor reported without. A rule that is applied anyway may be named.
        example: the arguments of one call, or a function that makes one with the model that it is given; the report
            then counts FLOPs, and a batch normalization at several positions is not folded into a linear layer.

    Raises:
        UnsupportedModuleError: a part of the model cannot be folded exactly, or it drops values out in training mode.
        UnknownPluginError: no rule of a name is installed.
    """
    chosen = rules_from(rules, also)
    copied = _copied(model)
    modules = dict(copied.named_modules())
    walk = _Walk(tuple(rule for rule in chosen if kinds_across_layers(rule) is None), copied)
    with positions_known(model, copied, example):
        collapsed, layers, left = fold_across(
            walk.folded(copied, ""), [rule for rule in chosen if kinds_across_layers(rule) is not None]
        )
    report = CollapseReport(
        (*walk.layers, *layers), stored_numbers(model), stored_numbers(collapsed), (*walk.left, *left)
    )
    return collapsed, report if example is None else _with_flops(report, model, modules, collapsed, example)


def _copied(model: nn.Module) -> nn.Module:
    if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        raise UnsupportedModuleError(
            f"a {type(model).__name__} for a collapse", "it has lazy layers without weights", "call it once first"
        )
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:  # of a tensor that is part of a graph; of a lock, a file, a generator
        raise UnsupportedModuleError(
            f"a {type(model).__name__} for a collapse",
            f"it cannot be copied ({str(error).partition('. ')[0]})",
            "make weights that a hook computes permanent, as with torch.nn.utils.remove_weight_norm or prune.remove; "
            "keep locks, files and the like out of the model",
        ) from error


class _Walk:
    """A walk over a model from the outside in; it remembers shared modules, so that they stay shared."""

    def __init__(self, rules: tuple[CollapseRule, ...], model: nn.Module) -> None:
        self._rules = rules
        self._seen = {id(module): module for module in model.modules()}  # kept, so that their ids stay their own
        self._done: dict[int, tuple[nn.Module, nn.Module]] = {}
        self.layers: list[FoldedLayer] = []
        self.left: list[LeftLayer] = []

    def folded(self, module: nn.Module, path: str) -> nn.Module:
        if id(module) in self._done:
            return self._done[id(module)][1]
        result = self._by_rules(module, path)
        self._done[id(module)] = (module, result)  # the module is kept, so that its id stays its own
        self._done[id(result)] = (result, result)
        for name, child in list(result._modules.items()):
            if child is not None:
                result._modules[name] = self.folded(child, f"{path}.{name}" if path else name)
        return result

    def _by_rules(self, module: nn.Module, path: str) -> nn.Module:
        for rule in self._rules:
            training = module.training
            folding = rule(module)
            if folding is not None:
                module = folding.module
                self._set_mode(module, training)
                self.layers += [folded_within(entry, path) for entry in folding.layers]
                self.left += [left_within(entry, path) for entry in folding.left]
        return module

    def _set_mode(self, module: nn.Module, training: bool) -> None:
        for part in module.modules():
            if id(part) not in self._seen:
                self._seen[id(part)] = part
                part.training = training


def _with_flops(
    report: CollapseReport, model: nn.Module, modules: dict[str, nn.Module], collapsed: nn.Module, example: Example
) -> CollapseReport:
    before = Costs(flops_by_module(model, example), modules)
    after = Costs(flops_by_module(collapsed, example), dict(collapsed.named_modules()))
    layers = counted_layers(report.layers, before, after)
    return replace(report, layers=layers, flops_before=before.flops[""], flops_after=after.flops[""])
