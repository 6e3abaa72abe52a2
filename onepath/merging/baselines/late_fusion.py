"""Late fusion: the pooled features of all modalities, concatenated or multiplied, and a classifier on top."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn

from onepath.merging.baselines.fusion import FusionMethod, fusion_from_method
from onepath.merging.baselines.tokens import Source, TokenEncoder, baseline_description, token_encoders
from onepath.merging.multimodal import all_present, run_dense


class LateFusion(nn.Module):
    """Features averaged over tokens and fused by a small network; a `MultimodalModel` that is trained on paired rows.

    Absent features are zeros; the network is told which modalities a row has.

    Args:
        sources: modality to its encoder.
        classes: number of logits.
        method: `concat`, or `bilinear` for exactly two modalities, see `GatedBilinear`.
        width: of the hidden layer.
        dropout: in training.

    Raises:
        UnsupportedModuleError: a method is unknown, or `bilinear` is asked of other than two modalities.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        classes: int,
        *,
        method: FusionMethod = "concat",
        width: int = 256,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        self.encoders = token_encoders(sources)
        self.modalities = tuple(sources)
        widths = [source.feature_dim for source in sources.values()]
        self.fusion = fusion_from_method(method, widths, width=width, dropout=dropout)
        self.head = nn.Linear(width, classes)

    def description(self) -> dict[str, Any]:  # JSON
        """Return what the numbers mean beside the weights, as JSON data."""
        return baseline_description("late_fusion", self.modalities)

    def absent(self, modality: str) -> Tensor:
        """Return zeros `(tokens, feature_dim)`."""
        return cast(TokenEncoder, self.encoders[modality]).absent

    def fuse(self, features: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return `scores`, logits `(rows, classes)`; see `MultimodalModel.fuse`."""
        pooled = [features[name].mean(1) for name in self.modalities]
        return {"scores": self.head(self.fusion(pooled, present))}

    def forward(self, values: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return logits `(rows, classes)`; see `LegoMerge.forward`."""
        return run_dense(self, values, all_present(values, present, self.modalities))["scores"]
