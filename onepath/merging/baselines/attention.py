"""Attention of a latent over tokens of which a row may have only some, and the feed-forward after it."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from onepath.merging.baselines.settings import LatentSettings
from onepath.merging.baselines.tokens import zero_where_absent
from onepath.merging.lego.layers import Activation, GatedFeedForward, attended


class LatentAttention(nn.Module):
    """Pre-norm attention of latents over tokens, added to the latents, then a gated feed-forward, added too.

    Args:
        settings: of the latent.
        context_width: of a token.
        heads: number of heads.
        gate: of the feed-forward.
    """

    def __init__(self, settings: LatentSettings, context_width: int, *, heads: int, gate: Activation) -> None:
        super().__init__()
        width, inner = settings.width, heads * settings.head_width
        self.heads, self.scale, self.dropout = heads, settings.head_width**-0.5, settings.dropout
        self.latent_norm, self.context_norm = nn.LayerNorm(width), nn.LayerNorm(context_width)
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(context_width, inner, bias=False)
        self.value = nn.Linear(context_width, inner, bias=False)
        self.output = nn.Linear(inner, width)
        self.feed_forward = GatedFeedForward(width, settings.dropout, gate=gate)

    def forward(self, latent: Tensor, context: Tensor, here: Tensor | None = None) -> Tensor:
        """Return the updated latents, `(rows, latents, width)`.

        Args:
            latent: `(rows, latents, width)`.
            context: `(rows, tokens, context_width)`.
            here: bool `(rows, tokens)`; a row without any token reads nothing. All are there without it.
        """
        normed = self.context_norm(context)
        read = attended(
            self.query(self.latent_norm(latent)),
            self.key(normed),
            self.value(normed),
            self.heads,
            scale=self.scale,
            bias=None if here is None else _bias(here, latent),
            dropout=self.dropout if self.training else 0.0,
        )
        added = self.output(read)
        latent = latent + (added if here is None else zero_where_absent(added, here.any(1)))
        return latent + cast(Tensor, self.feed_forward(latent))


class LatentStep(nn.Module):
    """A reading of tokens by latents, and attentions among the latents after it.

    Args:
        settings: of the latent.
        context_width: of a token.
        gate: of the feed-forwards.
    """

    def __init__(self, settings: LatentSettings, context_width: int, *, gate: Activation) -> None:
        super().__init__()
        self.read = LatentAttention(settings, context_width, heads=settings.cross_heads, gate=gate)
        self.among = nn.ModuleList(
            LatentAttention(settings, settings.width, heads=settings.latent_heads, gate=gate)
            for _ in range(settings.self_per_cross)
        )

    def forward(self, latent: Tensor, context: Tensor, here: Tensor | None = None) -> Tensor:
        """Return the updated latents, `(rows, latents, width)`; see `LatentAttention.forward`."""
        latent = self.read(latent, context, here)
        for attention in self.among:
            latent = attention(latent, latent)
        return latent


def _bias(here: Tensor, like: Tensor) -> Tensor:
    """Return what is added to scores, `(rows, 1, 1, tokens)`: a finite low number, so that no row gives NaN."""
    low = torch.finfo(like.dtype).min / 2
    return torch.zeros_like(here, dtype=like.dtype).masked_fill(~here, low)[:, None, None]
