"""What a recipe's training code hands over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import nn

from onepath.export.progress import Progress
from onepath.merging.multimodal import MultimodalModel

Row = Mapping[str, bytes]
"""Modality to encoded payload; a modality that is not here is absent."""


@dataclass(frozen=True)
class Trained:
    """The trained parents of a recipe and held-out rows to prove them on.

    Attributes:
        encoders: modality to its single-modality model, `values (rows, …) -> logits (rows, classes)`; `values` is what
            the modality's processor makes (uint8 pixels, int16 samples, …), so that casting happens in the model, to
            its parameters' dtype (the proofs run in float64). It may still be re-parameterised: the build collapses
            it, with a proof.
        blocks: modality to its `LegoBlock`, trained alone on its own modality, for merging.
        fused: name to a multimodal model that was fused and fine-tuned.
        rows: held-out rows with every modality present; probes and real-input proofs are drawn from them.
        targets: the class index of each row.
    """

    encoders: Mapping[str, nn.Module]
    blocks: Mapping[str, nn.Module] = field(default_factory=dict)
    fused: Mapping[str, MultimodalModel] = field(default_factory=dict)
    rows: Sequence[Row] = ()
    targets: Sequence[int] = ()
    details: Mapping[str, Any] = field(default_factory=dict)  # JSON for people: learned scales, accuracies


class TrainingCode(Protocol):
    """The function `train` of the Python file that a recipe names.

    If it has a parameter `parents` too, it gets the recipe's parents and merges by name, in eval mode, those with
    pathways attached, and may train them in place: the recipe's bundles then hold what it made of them.
    """

    def __call__(self, settings: Mapping[str, Any], *, seed: int, progress: Progress) -> Trained:
        """Train the parents. `settings` is the recipe's own free-form section."""
