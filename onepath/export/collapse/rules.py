"""What a collapse rule is, and the look-up of the installed ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, cast

from torch import nn

from onepath.contract.errors import UnknownPluginError
from onepath.contract.plugins import Group, known_plugins, load_plugin
from onepath.export.collapse.report import FoldedLayer, LeftLayer

GROUP: Group = "onepath.collapse_rules"

OPT_IN = frozenset({"norm_into_linear"})
"""Rules that a collapse applies only when they are named.

A norm costs the same with its gain as with ones: three blocks of ViT-B/16 in ONNX Runtime, on one thread of a CPU, took
93.6 ms as they were and 94.8 ms with the norms folded (medians of 60 calls in turns). Fold them where norms without
gains are needed, as before a rotation of the weights: with `collapse(model, also=["norm_into_linear"])`, or with
`also_collapse` in a recipe's `export`.
"""

_KINDS = "across_layers"


@dataclass(frozen=True)
class Folding:
    """What a rule made of a module.

    Attributes:
        module: takes the module's place; it may be the module itself, changed.
        layers: what was folded, with paths relative to the module; nothing where it is as it was.
        left: what the rule looked at and left as it is, with paths relative to the module.
    """

    module: nn.Module
    layers: tuple[FoldedLayer, ...]
    left: tuple[LeftLayer, ...] = ()


class CollapseRule(Protocol):
    """A function that folds one kind of module, exactly in real arithmetic; a plug-in of `onepath.collapse_rules`.

    Its docstring says what it `Requires` of the module and what it `Ensures` of the result. What it is not asked to
    fold, or what is right unfolded, it leaves, and says so; what is wrong to serve, it refuses.
    """

    def __call__(self, module: nn.Module) -> Folding | None:
        """Return the folded module, or None if the rule has nothing to do with it.

        The module is a copy that the rule may change or take apart. Sub-modules that the result keeps are offered to
        the rules afterwards.

        Raises:
            UnsupportedModuleError: the module is of the rule's kind, but cannot be folded exactly.
        """


def across_layers(*kinds: type) -> Callable[[CollapseRule], CollapseRule]:
    """Return a decorator for rules that fold a layer into a neighbour, as `onepath.export.collapse.dataflow` finds it.

    They come after the rules for single modules, and again until none of them finds anything. They are offered the
    outermost modules whose forward can be followed, and these as a whole; new modules that they put in keep the mode
    that the rule gave them.

    Args:
        kinds: classes without which a module has nothing for the rule, so that it is not traced in vain.
    """

    def marked(rule: CollapseRule) -> CollapseRule:
        vars(rule)[_KINDS] = kinds
        return rule

    return marked


def kinds_across_layers(rule: CollapseRule) -> tuple[type, ...] | None:
    """Return the classes of a rule made by `across_layers`, or None for a rule for single modules."""
    return cast("tuple[type, ...] | None", getattr(rule, _KINDS, None))


def rules_from(rules: Sequence[CollapseRule | str] | None, also: Sequence[str] = ()) -> tuple[CollapseRule, ...]:
    """Return the rules, those given by name looked up; without any, all installed ones but those of `OPT_IN`.

    Args:
        rules: rules or their names, in their order.
        also: names of more: among the installed ones each has its place by name, after given rules they come last.

    Raises:
        UnknownPluginError: no rule of that name is installed.
    """
    if rules is None:
        return installed_rules(frozenset(also))
    return tuple(cast(Any, load_plugin(GROUP, rule)) if isinstance(rule, str) else rule for rule in (*rules, *also))


@cache
def installed_rules(also: frozenset[str] = frozenset()) -> tuple[CollapseRule, ...]:
    """Return the installed rules, by name; looked up once, as that takes longer than a collapse.

    Args:
        also: names of those of `OPT_IN` that are wanted too; a rule that is among the others anyway comes once.

    Raises:
        UnknownPluginError: none is installed, which would make every collapse do nothing in silence; or none of a name.
    """
    names = [name for name in known_plugins(GROUP) if name not in OPT_IN]
    if not names:
        raise UnknownPluginError(
            f"{GROUP} has no rule at all; install onepath again, its own rules are declared there",
            group=GROUP,
            name="",
            known=(),
        )
    return tuple(load_plugin(GROUP, name) for name in sorted({*names, *also}))
