"""The one plug-in look-up: entry points, the built-in ones among them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from onepath.contract.errors import UnknownPluginError
from onepath.contract.nearest import did_you_mean

Group = Literal["onepath.modalities", "onepath.merge_methods", "onepath.weight_merges", "onepath.collapse_rules"]


def known_plugins(group: Group) -> list[str]:
    """Return the sorted names of a group's installed plug-ins."""
    return sorted({point.name for point in entry_points(group=group)})


def load_plugin(group: Group, name: str) -> Any:
    """Return the object that a plug-in's entry point names.

    Args:
        group: the entry-point group.
        name: the plug-in's name.

    Raises:
        UnknownPluginError: no installed distribution declares the name, or two do.
    """
    points = list(entry_points(group=group))
    found = _distinct([point for point in points if point.name == name])
    known = sorted({point.name for point in points})
    if not found:
        raise UnknownPluginError(_unknown(group, name, known), group=group, name=name, known=known)
    if len(found) > 1:
        places = ", ".join(sorted(point.value for point in found))
        raise UnknownPluginError(
            f"{group} has {name!r} more than once ({places}); uninstall all but one of them",
            group=group,
            name=name,
            known=known,
        )
    return found[0].load()


def _distinct(points: Sequence[EntryPoint]) -> list[EntryPoint]:
    # A distribution can be on sys.path twice (an editable install beside its build): same value, same plug-in.
    return list({point.value: point for point in points}.values())


def _unknown(group: str, name: str, known: Sequence[str]) -> str:
    return f"{group} has no {name!r}{did_you_mean(name, known)}; installed: {', '.join(known) or 'none'}"
