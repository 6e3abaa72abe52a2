"""One single-modality model in the form that export takes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class SingleModality(nn.Module):
    """A single-modality classifier as a multimodal model of one modality.

    Args:
        modality: its name.
        encoder: `values (rows, …) -> logits (rows, classes)`.
        classes: the number of classes.
    """

    def __init__(self, modality: str, encoder: nn.Module, classes: int) -> None:
        super().__init__()
        self.modalities = (modality,)
        self.encoders = nn.ModuleDict({modality: encoder})
        self.classes = classes

    def absent(self, modality: str) -> Tensor:
        """Return zeros `(classes,)`."""
        return torch.zeros(self.classes)

    def fuse(self, features: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return the encoder's logits as `scores`; rows that are absent are masked by the graph."""
        return {"scores": features[self.modalities[0]]}
