"""HEALNet: one latent that reads the modalities one after the other, `depth` times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from onepath.merging.baselines.attention import LatentStep
from onepath.merging.baselines.positions import position_width, with_positions
from onepath.merging.baselines.settings import HEALNET, LatentSettings, check_latent_settings
from onepath.merging.baselines.tokens import Source, TokenEncoder, baseline_description, token_encoders
from onepath.merging.lego.layers import TaskHead
from onepath.merging.lego.rowwise import wide
from onepath.merging.multimodal import all_present, run_dense


class HEALNet(nn.Module):
    """A shared latent that attends to each modality in turn (arXiv 2311.09115).

    The step of an absent modality is skipped, row by row. Tokens of a wrong shape are refused; nothing is skipped in
    silence.

    Args:
        sources: modality to its encoder, in the order of the readings; `nn.Identity()` for raw tokens, as in the
            published model.
        classes: number of logits.
        settings: sizes.

    Raises:
        UnsupportedModuleError: there is no encoder, or a size is too small.
    """

    def __init__(self, sources: Mapping[str, Source], classes: int, settings: LatentSettings = HEALNET) -> None:
        super().__init__()
        check_latent_settings(settings)
        self.encoders = token_encoders(sources)
        self.modalities, self.settings = tuple(sources), settings
        self.latent = nn.Parameter(0.02 * torch.randn(settings.latents, settings.width))
        contexts = [source.feature_dim + position_width(settings.bands) for source in sources.values()]
        self.steps = nn.ModuleList(
            LatentStep(settings, context, gate=functional.selu)
            for _ in range(1 if settings.share_layers else settings.depth)
            for context in contexts
        )
        self.head = TaskHead(settings.width, classes)

    def description(self) -> dict[str, Any]:  # JSON
        """Return what the numbers mean beside the weights, as JSON data."""
        return baseline_description("healnet", self.modalities, **asdict(self.settings))

    def absent(self, modality: str) -> Tensor:
        """Return zeros `(tokens, feature_dim)`."""
        return cast(TokenEncoder, self.encoders[modality]).absent

    def fuse(self, features: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return `scores`, logits `(rows, classes)`; see `MultimodalModel.fuse`."""
        form = self.settings
        contexts = [
            with_positions(features[name], bands=form.bands, max_frequency=form.max_frequency)
            for name in self.modalities
        ]
        latent = self.latent.expand(present.shape[0], *self.latent.shape)
        for index in range(form.depth * len(contexts)):
            column = index % len(contexts)
            updated = self.steps[index % len(self.steps)](latent, contexts[column])
            latent = torch.where(wide(present[:, column], latent), updated, latent)
        return {"scores": self.head(latent.mean(1))}

    def forward(self, values: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return logits `(rows, classes)`; see `LegoMerge.forward`."""
        return run_dense(self, values, all_present(values, present, self.modalities))["scores"]
