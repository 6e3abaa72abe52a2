"""The part of a collapsed block before the latent: the encoder, run once, and all that depends on it alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from onepath.export.collapse.constants import constant, linear_from
from onepath.merging.lego.block import LegoBlock
from onepath.merging.lego.fourier import along_rows, fourier_tables, half_length, real_fourier
from onepath.merging.lego.layers import LEAK, CrossAttention, LegoLayer, split_columns


class FoldedReading(nn.Module):
    """What every depth reads in a single token: `values -> (rows, depth, width)`.

    Over one token the softmax is 1 and the transform the identity, so that a depth's whole cross-attention is an
    affine map of the normalised feature and a leaky ReLU. All depths share one matrix product.

    Args:
        encoder: `values -> (rows, feature_dim)` or one token of it.
        attentions: one a depth.
    """

    def __init__(self, encoder: nn.Module, attentions: Sequence[CrossAttention]) -> None:
        super().__init__()
        self.encoder = encoder
        self.depth = len(attentions)
        folded = [_affine(attention) for attention in attentions]
        self.read = linear_from(torch.cat([weight for weight, _ in folded]), torch.cat([bias for _, bias in folded]))

    def forward(self, values: Tensor) -> Tensor:
        """Return the update of every latent row, `(rows, depth, width)`."""
        features = self.encoder(values).flatten(1)
        normed = functional.layer_norm(features, features.shape[-1:])
        return split_columns(functional.leaky_relu(self.read(normed), LEAK), self.depth)


class MixedTokens(nn.Module):
    """What every depth's attention reads: `values -> (rows, distinct tokens, feature_dim)`, normalised without gain.

    The real part of a transform has equal rows k and T−k. Where the number of tokens T is known only the first half is
    kept, and the attention counts it double.

    Args:
        block: whose encoder and form are taken.
    """

    def __init__(self, block: LegoBlock) -> None:
        super().__init__()
        self.encoder = block.encoder
        self.mixes = block.settings.frequency_domain
        self.cosine = constant(_half_cosine(block.settings.tokens), block.latent) if has_half_keys(block) else None

    def forward(self, values: Tensor) -> Tensor:
        """Return the tokens."""
        features = self.encoder(values)
        tokens = features.unsqueeze(1) if features.ndim == 2 else features
        if self.cosine is not None:
            tokens = along_rows(self.cosine, tokens)
        elif self.mixes:
            tokens = real_fourier(tokens)
        return functional.layer_norm(tokens, tokens.shape[-1:])


def has_half_keys(block: LegoBlock) -> bool:
    """Return whether the block's attention can do with the distinct half of its tokens."""
    return block.settings.frequency_domain and block.settings.tokens is not None


def features_from_block(block: LegoBlock) -> nn.Module:
    """Return the part of the block before its latent: folded readings for one token, else mixed tokens."""
    if block.settings.tokens == 1:
        return FoldedReading(block.encoder, attentions(block))
    return MixedTokens(block)


def attentions(block: LegoBlock) -> list[CrossAttention]:
    """Return the attention of each depth; shared layers come several times."""
    return [layer.attention for layer in unrolled_layers(block)]


def unrolled_layers(block: LegoBlock) -> list[LegoLayer]:
    """Return the layer of each depth; shared layers come several times."""
    layers = [cast(LegoLayer, layer) for layer in block.layers]
    return layers * block.settings.depth if block.settings.share_layers else layers


def _affine(attention: CrossAttention) -> tuple[Tensor, Tensor]:
    through = attention.output.weight @ attention.value.weight
    norm = attention.context_norm
    return through * norm.weight, through @ norm.bias + attention.output.bias


def _half_cosine(tokens: int | None) -> Tensor:
    length = tokens or 1
    return torch.from_numpy(fourier_tables(length)[0][: half_length(length)].copy())
