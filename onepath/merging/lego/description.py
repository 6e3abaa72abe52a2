"""What a model's numbers mean beside its weights, as JSON data: two that compute differently have two descriptions."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from onepath.contract.plugins import Group, known_plugins, load_plugin
from onepath.merging.lego.settings import LegoSettings

if TYPE_CHECKING:
    from onepath.merging.lego.methods import MergeMethod

Description = dict[str, Any]  # JSON
GROUP: Group = "onepath.merge_methods"


def merged_description(
    kind: str, settings: Mapping[str, LegoSettings], *, head: str, weights: Sequence[float], **form: str | None
) -> Description:
    """Return what a merged model says of itself.

    Args:
        kind: `lego_merge` or `lego_fuse`.
        settings: modality to those of its block, in the order of the presence columns.
        head: name of the head method.
        weights: one a block.
        form: what only this kind of model has, such as its method or its order.
    """
    return {
        "kind": kind,
        "modalities": list(settings),
        **form,
        "head": head,
        "weights": dict(zip(settings, weights, strict=True)),
        "settings": {name: asdict(each) for name, each in settings.items()},
    }


def block_description(settings: LegoSettings) -> Description:
    """Return what a block of these settings says of itself."""
    return {"kind": "lego_block", "settings": asdict(settings)}


def collapsed_description(source: Description) -> Description:
    """Return the description of the collapsed form of a model."""
    return {**copy.deepcopy(source), "collapsed": True}


def method_name(method: str | MergeMethod) -> str:
    """Return the plug-in name of a merge method; that of the function, with its module, if it is no plug-in.

    A callable without a name of its own is named by its class: give such a method as a plug-in, or as a function.
    """
    if isinstance(method, str):
        return method
    for name in known_plugins(GROUP):
        if load_plugin(GROUP, name) is method:
            return name
    named = method if hasattr(method, "__qualname__") else type(method)
    return f"{named.__module__}.{named.__qualname__}"
