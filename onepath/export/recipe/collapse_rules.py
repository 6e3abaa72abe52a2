"""Whether the collapse rules that a recipe asks for are there to be asked for."""

from __future__ import annotations

from collections.abc import Sequence

from onepath.contract.nearest import did_you_mean
from onepath.contract.plugins import known_plugins
from onepath.export.collapse.rules import GROUP, OPT_IN


def opt_in_problems(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return what is wrong with the rules in a recipe's `export.also_collapse`, each with its path in the recipe.

    A rule that every collapse applies is refused as an unknown one is: it would look as if it could be left out.

    >>> opt_in_problems(["norm_into_linear"])
    []
    >>> opt_in_problems(["batch_norm"])
    [('export.also_collapse.0', "'batch_norm' is applied to every model; leave it out")]
    """
    if not names:
        return []
    installed = known_plugins(GROUP)
    found = [(f"export.also_collapse.{index}", _problem(name, installed)) for index, name in enumerate(names)]
    return [(path, problem) for path, problem in found if problem is not None]


def _problem(name: str, installed: Sequence[str]) -> str | None:
    known = sorted(OPT_IN.intersection(installed))
    if name in known:
        return None
    if name in installed:
        return f"{name!r} is applied to every model; leave it out"
    return f"{name!r} is no rule to ask for{did_you_mean(name, known)}; known: {', '.join(known) or 'none'}"
