"""What a collapse folded, layer by layer, for people and for the bundle's report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
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
    """

    layer: str
    rule: str
    folded: str
    relative_change: float | None = None
    scales: tuple[float, ...] = ()


@dataclass(frozen=True)
class CollapseReport:
    """Everything that a collapse folded; the collapsed model equals the one that was given in eval mode.

    Attributes:
        layers: in the order of the model.
        parameters_before: numbers stored in the model that was given: parameters, and buffers of its state dict.
        parameters_after: those stored in the collapsed model.
    """

    layers: tuple[FoldedLayer, ...]
    parameters_before: int
    parameters_after: int

    def as_json(self) -> dict[str, Any]:  # JSON
        """Return the report as JSON data."""
        return asdict(self)

    def __str__(self) -> str:
        """Return a line for each layer, and the sizes."""
        lines = [f"{entry.layer or '(model)'}: {entry.folded}{_figures(entry)}" for entry in self.layers]
        return "\n".join([*lines, f"{self.parameters_before} -> {self.parameters_after} stored numbers"])


def stored_numbers(model: nn.Module) -> int:
    """Return how many numbers the model's state dict holds, tied ones once."""
    tensors = {id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}
    return sum(tensor.numel() for tensor in tensors.values())


def _figures(entry: FoldedLayer) -> str:
    scales = f", λ = {', '.join(f'{scale:.4g}' for scale in entry.scales)}" if entry.scales else ""
    change = "" if entry.relative_change is None else f", ‖ΔW‖/‖W‖ = {entry.relative_change:.3g}"
    return scales + change
