"""What every merged model is to the rest of onepath: encoders per modality, and a fusion that knows what is present."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError


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
    """Return the presence, or all ones of the right shape where it is not given.

    Args:
        values: modality to `(rows, …)`.
        present: bool `(rows, modalities)`, or None.
        modalities: in the order of the presence columns.

    Raises:
        UnsupportedModuleError: a modality has no values or another number of rows, or the presence another form.
    """
    rows = _common_rows(values, modalities)
    if present is None:
        return torch.ones(rows, len(modalities), dtype=torch.bool, device=values[modalities[0]].device)
    if present.dtype != torch.bool or present.shape != (rows, len(modalities)):
        raise UnsupportedModuleError(
            f"a presence {present.dtype} {tuple(present.shape)}",
            f"there are {rows} rows and the modalities {', '.join(modalities)}",
            "give bool (rows, modalities)",
        )
    return present


def check_modality_names(names: Iterable[str]) -> None:
    """Check that modules can be stored under these names.

    Raises:
        UnsupportedModuleError: one is empty, has a dot in it, or is that of a part of every module.
    """
    for name in names:
        if not isinstance(name, str) or not name or "." in name or hasattr(nn.ModuleDict(), name):
            raise UnsupportedModuleError(
                f"the modality {name!r}", "PyTorch keeps no module under that name", "give it another name"
            )


def _common_rows(values: Mapping[str, Tensor], modalities: tuple[str, ...]) -> int:
    for name in modalities:
        if name not in values:
            raise UnsupportedModuleError(
                f"the modality {name!r}", "it has no values", "give some, of any content where a row lacks it"
            )
    first, *others = modalities
    rows = values[first].shape[0]
    for name in others:
        if values[name].shape[0] != rows:
            reason = f"it has {values[name].shape[0]} rows, and {first!r} has {rows}"
            raise UnsupportedModuleError(f"the modality {name!r}", reason, "give each modality every row")
    return rows
