"""What a collapse folded, layer by layer, and what it left, for people and for the bundle's report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn


@dataclass(frozen=True)
class FoldedLayer:
    """One thing that a rule folded.

    A figure is None where it has no meaning: a change of a weight where several became one, where a module of another
    form stands in for one, or where numbers only change places; an error where numbers are only taken out, as of a
    wrapper; FLOPs without an example, of a bias, of what the example does not call, and of what was folded again later,
    whose FLOPs are part of the last entry's.

    Attributes:
        layer: dotted path of the module, or of its weight, in the model; empty for the model itself.
        rule: name of the collapse rule.
        folded: what was folded into what, in words; where the result takes more FLOPs, also why.
        relative_change: ‖ΔW‖/‖W‖ of a weight that changed.
        scales: the λ of each auxiliary of a re-parameterised weight.
        parts: paths of the modules that were folded into the layer, or came of it beside it, as in `layer`.
        error: ‖stored − exact‖/‖exact‖ of the fold, made in float64 and rounded once to the precision of the weight:
            of the weight, or, where a module of another form stands in for one, of what both make of random features.
        parameters_before: numbers stored in what was folded.
        parameters_after: numbers stored in what came of it.
        flops_before: floating-point operations of what was folded, and of all in it, on the example that the collapse
            was given; of a weight those of its module.
        flops_after: those of what came of it.
        auxiliaries: what each of the auxiliaries that `scales` are of was called; None for one without a name.
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
    auxiliaries: tuple[str | None, ...] = ()


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
        left: what a rule would have folded, or what is of its kind, and was not, with the reason.
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
            lines.append(f"{self.flops_before} -> {self.flops_after} FLOPs{more_text(self)}")
        return "\n".join(lines)


def folded_within(entry: FoldedLayer, path: str) -> FoldedLayer:
    """Return an entry of a module's report as one of the model's; paths in it are relative to the module at `path`."""
    return replace(entry, layer=_joined(path, entry.layer), parts=tuple(_joined(path, part) for part in entry.parts))


def left_within(entry: LeftLayer, path: str) -> LeftLayer:
    """Return an entry of a module's report as one of the model's; see `folded_within`."""
    return replace(entry, layer=_joined(path, entry.layer))


def more_text(sizes: FoldedLayer | CollapseReport) -> str:
    """Return that a collapse takes more FLOPs than what it folded, in words; nothing where it does not."""
    before, after = sizes.flops_before, sizes.flops_after
    return ", more than before" if before is not None and after is not None and after > before else ""


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
        figures.append(f"{entry.flops_before} -> {entry.flops_after} FLOPs{more_text(entry)}")
    return "".join(f", {figure}" for figure in figures)


def _joined(path: str, layer: str) -> str:
    return ".".join(part for part in (path, layer) if part)
