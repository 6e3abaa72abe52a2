"""Ensemble: the mean of the logits of classifiers that were trained apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from onepath.merging.baselines.tokens import Source, TokenEncoder, baseline_description, token_encoders
from onepath.merging.lego.rowwise import wide
from onepath.merging.multimodal import all_present, run_dense


class Ensemble(nn.Module):
    """The mean of the present modalities' logits; a `MultimodalModel` that needs no training of its own.

    Args:
        classifiers: modality to `values (rows, …) -> logits (rows, classes)`.
        classes: number of logits.

    Raises:
        UnsupportedModuleError: there is no classifier.
    """

    def __init__(self, classifiers: Mapping[str, nn.Module], classes: int) -> None:
        super().__init__()
        self.encoders = token_encoders({name: Source(model, classes) for name, model in classifiers.items()})
        self.modalities = tuple(classifiers)

    def description(self) -> dict[str, Any]:  # JSON
        """Return what the numbers mean beside the weights, as JSON data."""
        return baseline_description("ensemble", self.modalities)

    def absent(self, modality: str) -> Tensor:
        """Return zeros `(1, classes)`."""
        return cast(TokenEncoder, self.encoders[modality]).absent

    def fuse(self, features: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return `scores`, logits `(rows, classes)`; see `MultimodalModel.fuse`."""
        logits = torch.cat([features[name] for name in self.modalities], dim=1)
        masked = torch.where(wide(present, logits), logits, torch.zeros_like(logits))
        count = present.to(logits.dtype).sum(1, keepdim=True).clamp(min=1.0)
        return {"scores": masked.sum(1) / count}

    def forward(self, values: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return logits `(rows, classes)`; see `LegoMerge.forward`."""
        return run_dense(self, values, all_present(values, present, self.modalities))["scores"]
