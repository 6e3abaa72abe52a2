"""Perceiver: a learned latent that reads the tokens of all present modalities at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from onepath.merging.baselines.attention import LatentStep
from onepath.merging.baselines.positions import position_width, with_positions
from onepath.merging.baselines.settings import PERCEIVER, LatentSettings, check_latent_settings
from onepath.merging.baselines.tokens import Source, TokenEncoder, baseline_description, token_encoders
from onepath.merging.lego.layers import TaskHead
from onepath.merging.multimodal import all_present, run_dense


class Perceiver(nn.Module):
    """Latents that attend to every token of every present modality, `depth` times (arXiv 2103.03206).

    A token is brought to one width and told apart by a learned vector of its modality, and by Fourier features of its
    place. A row's absent modalities are masked, so that it gets what a model without them would compute.

    Args:
        sources: modality to its encoder.
        classes: number of logits.
        settings: sizes.

    Raises:
        UnsupportedModuleError: there is no encoder, or a size is too small.
    """

    def __init__(self, sources: Mapping[str, Source], classes: int, settings: LatentSettings = PERCEIVER) -> None:
        super().__init__()
        check_latent_settings(settings)
        self.encoders = token_encoders(sources)
        self.modalities, self.settings = tuple(sources), settings
        width, context = settings.width, settings.width + position_width(settings.bands)
        self.project = nn.ModuleDict({name: nn.Linear(source.feature_dim, width) for name, source in sources.items()})
        self.kind = nn.ParameterDict({name: nn.Parameter(0.02 * torch.randn(width)) for name in sources})
        self.latent = nn.Parameter(0.02 * torch.randn(settings.latents, width))
        self.steps = nn.ModuleList(
            LatentStep(settings, context, gate=functional.gelu)
            for _ in range(1 if settings.share_layers else settings.depth)
        )
        self.head = TaskHead(width, classes)

    def description(self) -> dict[str, Any]:  # JSON
        """Return what the numbers mean beside the weights, as JSON data."""
        return baseline_description("perceiver", self.modalities, **asdict(self.settings))

    def absent(self, modality: str) -> Tensor:
        """Return zeros `(tokens, feature_dim)`."""
        return cast(TokenEncoder, self.encoders[modality]).absent

    def fuse(self, features: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return `scores`, logits `(rows, classes)`; see `MultimodalModel.fuse`."""
        context = torch.cat([self._context(name, features[name]) for name in self.modalities], dim=1)
        counts = [features[name].shape[1] for name in self.modalities]
        columns = present.unsqueeze(2).unbind(1)
        here = torch.cat([column.expand(-1, count) for column, count in zip(columns, counts, strict=True)], dim=1)
        latent = self.latent.expand(present.shape[0], *self.latent.shape)
        for depth in range(self.settings.depth):
            latent = self.steps[depth % len(self.steps)](latent, context, here)
        return {"scores": self.head(latent.mean(1))}

    def forward(self, values: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return logits `(rows, classes)`; see `LegoMerge.forward`."""
        return run_dense(self, values, all_present(values, present, self.modalities))["scores"]

    def _context(self, name: str, tokens: Tensor) -> Tensor:
        projected = self.project[name](tokens) + self.kind[name]
        return with_positions(projected, bands=self.settings.bands, max_frequency=self.settings.max_frequency)
