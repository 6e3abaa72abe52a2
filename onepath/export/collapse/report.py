"""What a collapse folded, layer by layer, and what it left, for people and for the bundle's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn


@dataclass(frozen=True)
class FoldedLayer:
    """One thing that a rule folded.

    Attributes:
        layer: dotted path of the module in the model; empty for the model itself.
        rule: name of the collapse rule.
        folded: what was folded into what, in words.
        relative_change: ‖ΔW‖/‖W‖ of a weight that changed, where one did.
        scales: the λ of each auxiliary of a re-parameterised weight.
        parts: paths of the modules that were folded into the layer, as in `layer`.
        error: ‖stored − exact‖/‖exact‖ of the fold, made in float64 and rounded once to the precision of the weight.
        parameters_before: numbers stored in what was folded, where the rule counts them.
        parameters_after: numbers stored in what came of it.
        flops_before: floating-point operations of what was folded, on the example that the collapse was given. Of
            what was folded again later they are part of the last entry's.
        flops_after: those of what came of it.
    """

    layer: str
    rule: str
    folded: str
    relative_change: float | None = None
    scales: tuple[float, ...] = ()
    parts: tuple[str, ...] = ()
    error: float | None = None
    parameters_before: int | None = None
    parameters_after: int | None = None
    flops_before: int | None = None
    flops_after: int | None = None


@dataclass(frozen=True)
class LeftLayer:
    """Something of a rule's kind that stays as it is, correct and unfolded.

    Attributes:
        layer: dotted path of the module in the model; empty for the model itself.
        rule: name of the collapse rule.
        reason: why it is not folded, in words.
    """

    layer: str
    rule: str
    reason: str


@dataclass(frozen=True)
class CollapseReport:
    """Everything that a collapse folded; the collapsed model equals the one that was given in eval mode.

    Attributes:
        layers: in the order of the model, rule by rule.
        parameters_before: numbers stored in the model that was given: parameters, and buffers of its state dict.
        parameters_after: those stored in the collapsed model.
        left: what a rule looked at and did not fold, with the reason.
        flops_before: floating-point operations of the matrix products, convolutions and attentions of one call with
            the example, as torch counts them: two for each multiplication; None without an example.
        flops_after: those of the collapsed model.
    """

    layers: tuple[FoldedLayer, ...]
    parameters_before: int
    parameters_after: int
    left: tuple[LeftLayer, ...] = ()
    flops_before: int | None = None
    flops_after: int | None = None

    def as_json(self) -> dict[str, Any]:  # JSON
        """Return the report as JSON data."""
        return asdict(self)

    def __str__(self) -> str:
        """Return a line for each layer folded or left, and the sizes."""
        lines = [f"{entry.layer or '(model)'}: {entry.folded}{_figures(entry)}" for entry in self.layers]
        lines += [f"{entry.layer or '(model)'}: left by {entry.rule}, as {entry.reason}" for entry in self.left]
        lines.append(f"{self.parameters_before} -> {self.parameters_after} stored numbers")
        if self.flops_before is not None:
            lines.append(f"{self.flops_before} -> {self.flops_after} FLOPs")
        return "\n".join(lines)


def folded_within(entry: FoldedLayer, path: str) -> FoldedLayer:
    """Return an entry of a module's report as one of the model's; paths in it are relative to the module at `path`."""
    return replace(entry, layer=_joined(path, entry.layer), parts=tuple(_joined(path, part) for part in entry.parts))


def left_within(entry: LeftLayer, path: str) -> LeftLayer:
    """Return an entry of a module's report as one of the model's; see `folded_within`."""
    return replace(entry, layer=_joined(path, entry.layer))


def counted_layers(
    layers: Sequence[FoldedLayer], before: Mapping[str, int], after: Mapping[str, int]
) -> tuple[FoldedLayer, ...]:
    """Return the entries with their FLOPs, those of one layer in its last entry.

    Args:
        layers: in the order in which they were folded.
        before: path of each module that was called -> FLOPs before the collapse.
        after: the same after it.
    """
    open_entries = dict[int, set[str]]()  # number of the entry -> all paths that came into it
    for number, entry in enumerate(layers):
        paths = {entry.layer, *entry.parts}
        for earlier in [one for one in open_entries if layers[one].layer in paths]:
            paths |= open_entries.pop(earlier)
        open_entries[number] = paths
    return tuple(_counted(entry, open_entries.get(number), before, after) for number, entry in enumerate(layers))


def _counted(
    entry: FoldedLayer, paths: set[str] | None, before: Mapping[str, int], after: Mapping[str, int]
) -> FoldedLayer:
    if paths is None or entry.layer not in before or entry.layer not in after:
        return entry  # folded again, or the path of a weight, or of a module that is at another place than it was
    sums = [sum(counts.get(path, 0) for path in paths) for counts in (before, after)]
    return replace(entry, flops_before=sums[0], flops_after=sums[1])


def stored_numbers(model: nn.Module) -> int:
    """Return how many numbers the model's state dict holds, tied ones once."""
    tensors = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
    return sum(tensor.numel() for tensor in tensors.values())


def _figures(entry: FoldedLayer) -> str:
    figures = [f"λ = {', '.join(f'{scale:.4g}' for scale in entry.scales)}"] if entry.scales else []
    if entry.relative_change is not None:
        figures.append(f"‖ΔW‖/‖W‖ = {entry.relative_change:.3g}")
    if entry.error is not None:
        figures.append(f"rounding {entry.error:.2g}")
    if entry.parameters_before is not None:
        figures.append(f"{entry.parameters_before} -> {entry.parameters_after} numbers")
    if entry.flops_before is not None:
        figures.append(f"{entry.flops_before} -> {entry.flops_after} FLOPs")
    return "".join(f", {figure}" for figure in figures)


def _joined(path: str, layer: str) -> str:
    return ".".join(part for part in (path, layer) if part)
