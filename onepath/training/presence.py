"""Modality dropout: rows lose modalities at random in training, so that a model learns to do without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from onepath.training.errors import TrainingError


def drop_modalities(present: Tensor, probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """Return presence with each modality dropped at random, bool `(rows, modalities)`; no row loses its last one.

    A row that would lose everything keeps one of its modalities, each with the same chance.

    Args:
        present: bool `(rows, modalities)`; not changed.
        probabilities: `(modalities,)`, the chance of each to be dropped from a row.
        generator: on the CPU, so that one seed drops the same on every device.
    """
    draws = torch.rand(2, *present.shape, generator=generator).to(present.device)
    kept = present & (draws[0] >= probabilities.to(draws))
    survivor = torch.where(present, draws[1], -1.0).argmax(dim=1, keepdim=True)
    saved = torch.zeros_like(present).scatter(1, survivor, value=True) & present
    return torch.where(kept.any(dim=1, keepdim=True), kept, saved)


def dropout_probabilities(dropout: float | Mapping[str, float], modalities: Sequence[str]) -> Tensor:
    """Return the chance of each modality to be dropped, `(modalities,)`; 0 where a mapping names none.

    Raises:
        TrainingError: a mapping names a modality that there is not.

    >>> dropout_probabilities({"audio": 0.5}, ["image", "audio"])
    tensor([0.0000, 0.5000])
    """
    if not isinstance(dropout, Mapping):
        return torch.full((len(modalities),), dropout)
    unknown = sorted(set(dropout) - set(modalities))
    if unknown:
        raise TrainingError(
            f"modality_dropout of {', '.join(unknown)}", "there is no such modality", f"use {', '.join(modalities)}"
        )
    return torch.tensor([dropout.get(name, 0.0) for name in modalities])
