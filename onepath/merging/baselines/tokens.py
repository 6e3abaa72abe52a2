"""What every baseline is built around: encoders whose features are tokens of a known number and width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.encoders.shapes import check_sizes
from onepath.merging.lego.rowwise import wide
from onepath.merging.multimodal import check_modality_names


@dataclass(frozen=True)
class Source:
    """An encoder, and the form of its features.

    Attributes:
        encoder: `values (rows, …) -> (rows, feature_dim)` or `(rows, tokens, feature_dim)`; `nn.Identity()` where the
            values are tokens already.
        feature_dim: width of a token.
        tokens: how many there are.
    """

    encoder: nn.Module
    feature_dim: int
    tokens: int = 1


class TokenEncoder(nn.Module):
    """An encoder that gives tokens: `values (rows, …) -> (rows, tokens, feature_dim)`, in the module's own precision.

    Args:
        name: of the modality, for messages.
        source: the encoder and the form of its features.

    Raises:
        UnsupportedModuleError: a size is below 1.
    """

    absent: Tensor

    def __init__(self, name: str, source: Source) -> None:
        super().__init__()
        check_sizes(f"the encoder of {name}", tokens=source.tokens, feature_dim=source.feature_dim)
        self.name, self.encoder = name, source.encoder
        self.register_buffer("absent", torch.zeros(source.tokens, source.feature_dim), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """Return the features as tokens.

        Raises:
            UnsupportedModuleError: they have another shape than the source says.
        """
        features = self.encoder(values)
        tokens: Tensor = features.unsqueeze(1) if features.ndim == 2 else features
        if tokens.ndim != 3 or tokens.shape[1:] != self.absent.shape:
            raise UnsupportedModuleError(
                f"the encoder of {self.name}",
                f"its features are {tuple(features.shape)}, and its source says {self.extra_repr()}",
                "set tokens and feature_dim to what it returns",
            )
        return tokens.to(self.absent.dtype)

    def extra_repr(self) -> str:
        """Return the form of the features, in words."""
        return "{} tokens of width {}".format(*self.absent.shape)


def token_encoders(sources: Mapping[str, Source]) -> nn.ModuleDict:
    """Return the encoders by modality.

    Raises:
        UnsupportedModuleError: there are none, or a size is below 1.
    """
    if not sources:
        raise UnsupportedModuleError("no encoders", "there is nothing to fuse", "give at least one modality")
    check_modality_names(sources)
    return nn.ModuleDict({name: TokenEncoder(name, source) for name, source in sources.items()})


def zero_where_absent(values: Tensor, here: Tensor) -> Tensor:
    """Return the values, zeros in rows where `here`, bool `(rows,)`, is not set."""
    return torch.where(wide(here, values), values, torch.zeros_like(values))


def baseline_description(kind: str, modalities: tuple[str, ...], **form: object) -> dict[str, Any]:  # JSON
    """Return what a baseline says of itself, as JSON data: two that compute differently from equal weights differ.

    Args:
        kind: name of the method.
        modalities: in the order of the presence columns.
        form: settings that do not show in the weights.
    """
    return {"kind": kind, "modalities": list(modalities), **form}
