"""The FLOPs of each entry of a report: of the modules that it stands for, where they were and where they are now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from onepath.export.collapse.report import FoldedLayer


@dataclass(frozen=True)
class Costs:
    """What the modules of a model cost, and which object each of them is.

    Attributes:
        flops: path of each module that was called, or of which a part was -> FLOPs.
        modules: path of each module -> the object, which a collapse may keep and move elsewhere.
    """

    flops: Mapping[str, int]
    modules: Mapping[str, nn.Module]


def counted_layers(layers: Sequence[FoldedLayer], before: Costs, after: Costs) -> tuple[FoldedLayer, ...]:
    """Return the entries with their FLOPs, those of one layer in its last entry.

    Args:
        layers: in the order in which they were folded.
        before: of the model before the collapse.
        after: of the collapsed model.
    """
    open_entries = dict[int, set[str]]()  # number of the entry -> all paths that came into it
    for number, entry in enumerate(layers):
        if _is_of_bias(entry):
            continue
        paths = {_module_path(entry.layer, before, after), *entry.parts}
        for earlier in [one for one in open_entries if _module_path(layers[one].layer, before, after) in paths]:
            paths |= open_entries.pop(earlier)
        open_entries[number] = paths
    return tuple(_counted(entry, open_entries.get(number), before, after) for number, entry in enumerate(layers))


def _counted(entry: FoldedLayer, paths: set[str] | None, before: Costs, after: Costs) -> FoldedLayer:
    if paths is None:
        return entry  # folded again, or a bias
    was, is_now = (_known(paths, here, there) for here, there in ((before, after), (after, before)))
    if not was or not is_now:
        return entry  # not called, or a part of something that was folded as a whole
    sums = [sum(costs.flops[path] for path in found) for costs, found in ((before, was), (after, is_now))]
    return replace(entry, flops_before=sums[0], flops_after=sums[1])


def _is_of_bias(entry: FoldedLayer) -> bool:
    return entry.layer.rpartition(".")[2].endswith("bias")


def _module_path(path: str, before: Costs, after: Costs) -> str:
    """Return the path of the module that holds a weight; a module's own path."""
    is_module = path in before.modules or path in after.modules
    return path if is_module else path.rpartition(".")[0]


def _known(paths: set[str], here: Costs, there: Costs) -> set[str]:
    """Return the paths, of either model, as those of one model, without what it has no FLOPs of."""
    found = {path if path in here.flops else _moved(path, there, here) for path in paths}
    return {path for path in found if path in here.flops}


def _moved(path: str, source: Costs, target: Costs) -> str:
    """Return where a path of one model is in the other: below the innermost module around it that both have."""
    places = {id(module): place for place, module in target.modules.items()}
    head, tail = path, list[str]()
    while head:
        module = source.modules.get(head)
        if module is not None and id(module) in places:
            return ".".join(part for part in (places[id(module)], *tail) if part)
        head, _, name = head.rpartition(".")
        tail.insert(0, name)
    return path
