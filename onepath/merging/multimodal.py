"""What every merged model is to the rest of onepath: encoders per modality, and a fusion that knows what is present."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn


class MultimodalModel(Protocol):
    """An `nn.Module` that export can dispatch row by row: an encoder runs only on the rows that have its modality.

    Attributes:
        modalities: their names, in the order of the presence columns.
        encoders: modality to module, `values (rows, …) -> features (rows, …)`; no row's features depend on another row.
    """

    modalities: tuple[str, ...]
    encoders: nn.ModuleDict

    def absent(self, modality: str) -> Tensor:
        """Return the features that stand for an absent modality, of the shape of one row's features, always finite."""

    def fuse(self, features: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return the outputs of the task.

        Args:
            features: modality to `(rows, …)`; rows that are not present hold `absent(modality)`.
            present: bool `(rows, modalities)`.

        Returns:
            Name to `(rows, width)` with the task's own output first: `scores` (logits) or `embedding`.
        """


def run_dense(model: MultimodalModel, values: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
    """Return the model's outputs with every encoder run on every row: the plain form that dispatch must equal.

    Args:
        model: the merged model.
        values: modality to `(rows, …)`, as its processor makes them; anything where a row is absent.
        present: bool `(rows, modalities)`.
    """
    features = {}
    for column, modality in enumerate(model.modalities):
        encoded = model.encoders[modality](values[modality])
        here = present[:, column].reshape(-1, *[1] * (encoded.ndim - 1))
        features[modality] = encoded.where(here, model.absent(modality).to(encoded.dtype))
    return model.fuse(features, present)


def all_present(values: Mapping[str, Tensor], present: Tensor | None, modalities: tuple[str, ...]) -> Tensor:
    """Return the presence, or all ones of the right shape where it is not given."""
    if present is not None:
        return present
    first = values[modalities[0]]
    return torch.ones(first.shape[0], len(modalities), dtype=torch.bool, device=first.device)
