"""What a collapse rule is, and the look-up of the installed ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Protocol

from torch import nn

from onepath.contract.errors import UnknownPluginError
from onepath.contract.plugins import Group, known_plugins, load_plugin
from onepath.export.collapse.report import FoldedLayer

GROUP: Group = "onepath.collapse_rules"


@dataclass(frozen=True)
class Folding:
    """What a rule made of a module.

    Attributes:
        module: takes the module's place; it may be the module itself, changed.
        layers: what was folded, with paths relative to the module.
    """

    module: nn.Module
    layers: tuple[FoldedLayer, ...]


class CollapseRule(Protocol):
    """A function that folds one kind of module, exactly in real arithmetic; a plug-in of `onepath.collapse_rules`.

    Its docstring says what it `Requires` of the module and what it `Ensures` of the result.
    """

    def __call__(self, module: nn.Module) -> Folding | None:
        """Return the folded module, or None if the rule has nothing to do with it.

        The module is a copy that the rule may change or take apart. Sub-modules that the result keeps are offered to
        the rules afterwards.

        Raises:
            UnsupportedModuleError: the module is of the rule's kind, but cannot be folded exactly.
        """


@cache
def installed_rules() -> tuple[CollapseRule, ...]:
    """Return the installed rules, by name; looked up once, as the look-up takes longer than many a collapse.

    Raises:
        UnknownPluginError: none is installed, which would make every collapse do nothing in silence.
    """
    names = known_plugins(GROUP)
    if not names:
        raise UnknownPluginError(
            f"{GROUP} has no rule at all; install onepath again, its own rules are declared there",
            group=GROUP,
            name="",
            known=(),
        )
    return tuple(load_plugin(GROUP, name) for name in names)
