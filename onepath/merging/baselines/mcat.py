"""MCAT: the tokens of one modality guide what is read in a bag of the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.baselines.fusion import FusionMethod, fusion_from_method
from onepath.merging.baselines.tokens import (
    Source,
    TokenEncoder,
    baseline_description,
    token_encoders,
    zero_where_absent,
)
from onepath.merging.lego.layers import attended
from onepath.merging.lego.rowwise import wide
from onepath.merging.multimodal import all_present, run_dense
from onepath.merging.reparameterization.transformer_block import MPTransformerBlock


class MCAT(nn.Module):
    """A co-attention transformer of two modalities, a guide and a bag that it attends to (Chen et al., ICCV 2021).

    What each guide token reads in the bag, and the guide tokens themselves, each pass through a transformer and a gated
    attention pooling over tokens, whose weights the published code does not apply. A row without the guide reads the
    bag by learned tokens; a row without the bag has the guide's half alone.

    Args:
        sources: two modalities, the guide first.
        classes: number of logits.
        width: of every token after its projection.
        heads: of the transformers.
        depth: blocks of each transformer.
        method: how the two halves are fused.
        dropout: in training.

    Raises:
        UnsupportedModuleError: there are not exactly two modalities, the heads do not divide the width, or a method is
            unknown.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        classes: int,
        *,
        width: int = 256,
        heads: int = 8,
        depth: int = 2,
        method: FusionMethod = "concat",
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        if len(sources) != 2:
            raise UnsupportedModuleError(
                f"MCAT of {len(sources)} modalities", "one guides what is read in the other", "give two, guide first"
            )
        self.encoders = token_encoders(sources)
        self.modalities = tuple(sources)
        self.width, self.heads = width, heads
        guide, bag = sources.values()
        self.guide = _projection(guide.feature_dim, width, dropout)
        self.bag = _projection(bag.feature_dim, width, dropout)
        self.unguided = nn.Parameter(0.02 * torch.randn(guide.tokens, width))
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.halves = nn.ModuleList(_Half(width, heads, depth, dropout) for _ in range(2))
        self.fusion = fusion_from_method(method, (width, width), width=width, dropout=dropout)
        self.head = nn.Linear(width, classes)

    def description(self) -> dict[str, Any]:  # JSON
        """Return what the numbers mean beside the weights, as JSON data."""
        return baseline_description("mcat", self.modalities, heads=self.heads)

    def absent(self, modality: str) -> Tensor:
        """Return zeros `(tokens, feature_dim)`."""
        return cast(TokenEncoder, self.encoders[modality]).absent

    def fuse(self, features: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return `scores`, logits `(rows, classes)`; see `MultimodalModel.fuse`."""
        guide, bag = (
            project(features[name]) for project, name in zip((self.guide, self.bag), self.modalities, strict=True)
        )
        guide = torch.where(wide(present[:, 0], guide), guide, self.unguided.expand_as(guide))
        read = attended(self.query(guide), self.key(bag), self.value(bag), 1, scale=self.width**-0.5)
        pooled = [
            zero_where_absent(half(tokens), present[:, column])
            for column, (half, tokens) in enumerate(zip(self.halves, (guide, read), strict=True))
        ]
        return {"scores": self.head(self.fusion(pooled, present))}

    def forward(self, values: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return logits `(rows, classes)`; see `LegoMerge.forward`."""
        return run_dense(self, values, all_present(values, present, self.modalities))["scores"]


class _Half(nn.Module):
    """A transformer over tokens and a gated attention pooling: `(rows, tokens, width) -> (rows, width)`."""

    def __init__(self, width: int, heads: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            MPTransformerBlock(width, heads=heads, ff_mult=2, dropout=dropout) for _ in range(depth)
        )
        self.content, self.gate = nn.Linear(width, width), nn.Linear(width, width)
        self.score = nn.Linear(width, 1)
        self.output = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the pooled tokens."""
        for block in self.blocks:
            tokens = block(tokens)
        shares = self.score(torch.tanh(self.content(tokens)) * torch.sigmoid(self.gate(tokens))).softmax(1)
        return cast(Tensor, self.output((tokens * shares).sum(1)))


def _projection(inputs: int, width: int, dropout: float) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout))
