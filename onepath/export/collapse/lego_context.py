"""The part of a collapsed block before the latent: the encoder, run once, and all that depends on it alone."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from onepath.export.collapse.constants import constant, linear_from
from onepath.export.collapse.lego_mixer import folded_mixers
from onepath.export.collapse.storing import wide
from onepath.merging.lego.block import LegoBlock
from onepath.merging.lego.fourier import along_rows, fourier_tables, half_length, real_fourier
from onepath.merging.lego.layers import LEAK, CrossAttention, LegoLayer, split_columns


class FoldedReading(nn.Module):
    """What every depth reads in a single token: `values -> (rows, depth, width)`.

    Over one token the softmax is 1 and its transform the identity, so that a depth's whole cross-attention is an
    affine map of the normalised feature and a leaky ReLU. All depths share one matrix product; those of a block without
    an encoder, which read tokens of their own, have one each.

    Args:
        block: of one token.
    """

    def __init__(self, block: LegoBlock) -> None:
        super().__init__()
        self.encoder = encoder_from_block(block)
        self.spread = _feature_cosine(block)
        self.depth = block.settings.depth
        folded = [_affine(layer.attention) for layer in unrolled_layers(block)]
        weights, biases = zip(*folded, strict=True)
        self.read = linear_from(torch.cat(weights), torch.cat(biases), block.latent)
        self.mixes = block.mixers is not None

    def forward(self, values: Tensor) -> Tensor:
        """Return the update of every latent row, `(rows, depth, width)`."""
        features = self.encoder(values)
        features = features.squeeze(2) if self.mixes else features.flatten(1)
        if self.spread is not None:
            features = features @ self.spread
        normed = functional.layer_norm(features, features.shape[-1:])
        return functional.leaky_relu(self._read(normed), LEAK)

    def _read(self, normed: Tensor) -> Tensor:
        if not self.mixes or normed.shape[1] == 1:
            return split_columns(self.read(normed.flatten(1)), self.depth)
        weights, biases = self.read.weight.chunk(self.depth), self.read.bias.chunk(self.depth)
        own = [functional.linear(normed[:, i], weights[i], biases[i]) for i in range(self.depth)]
        return torch.stack(own, dim=1)


class MixedTokens(nn.Module):
    """What the attention reads: `values -> (rows, keys, feature_dim)`, normalised without gain.

    The real part of a transform over tokens has equal rows k and T−k. Where the number of tokens T is known only the
    first half is kept, and the attention counts it double. Without an encoder each depth reads tokens of its own:
    `(rows, depth, keys, feature_dim)`.

    Args:
        block: whose encoder and form are taken.
    """

    def __init__(self, block: LegoBlock) -> None:
        super().__init__()
        self.encoder = encoder_from_block(block)
        self.mixes = _transforms_tokens(block)
        self.cosine = constant(_half_cosine(block.settings.tokens), block.latent) if has_half_keys(block) else None
        self.spread = _feature_cosine(block)

    def forward(self, values: Tensor) -> Tensor:
        """Return the tokens."""
        features = self.encoder(values)
        tokens = features.unsqueeze(1) if features.ndim == 2 else features
        if self.spread is not None:
            tokens = tokens @ self.spread
        elif self.cosine is not None:
            tokens = along_rows(self.cosine, tokens)
        elif self.mixes:
            tokens = real_fourier(tokens)
        return functional.layer_norm(tokens, tokens.shape[-1:])


def encoder_from_block(block: LegoBlock) -> nn.Module:
    """Return the block's own encoder; its folded mixers without one."""
    return folded_mixers(block) if block.encoder is None else block.encoder


def has_half_keys(block: LegoBlock) -> bool:
    """Return whether the block's attention can do with the distinct half of its tokens."""
    return _transforms_tokens(block) and block.settings.tokens is not None


def features_from_block(block: LegoBlock) -> nn.Module:
    """Return the part of the block before its latent: folded readings for one token, else mixed tokens."""
    return FoldedReading(block) if block.settings.tokens == 1 else MixedTokens(block)


def features_shape(block: LegoBlock, tokens: int) -> tuple[int, ...]:
    """Return the shape of what `features_from_block` makes of one row.

    Args:
        block: the block.
        tokens: their number.
    """
    form = block.settings
    if tokens == 1:
        return form.depth, form.width
    shape = (half_length(tokens) if has_half_keys(block) else tokens, form.feature_dim)
    return shape if block.mixers is None else (len(block.mixers.each), *shape)


def unrolled_layers(block: LegoBlock) -> list[LegoLayer]:
    """Return the layer of each depth; shared layers come several times."""
    return [block.layer(index) for index in range(block.settings.depth)]


def _transforms_tokens(block: LegoBlock) -> bool:
    form = block.settings
    return form.frequency_domain and form.context_fft and form.fourier_dim == 1


def _feature_cosine(block: LegoBlock) -> nn.Parameter | None:
    form = block.settings
    if not (form.frequency_domain and form.context_fft and form.fourier_dim == 2):
        return None
    return constant(torch.from_numpy(fourier_tables(form.feature_dim)[0].copy()), block.latent)


def _affine(attention: CrossAttention) -> tuple[Tensor, Tensor]:
    through = wide(attention.output.weight) @ wide(attention.value.weight)
    norm = attention.context_norm
    return through * wide(norm.weight), through @ wide(norm.bias) + wide(attention.output.bias)


def _half_cosine(tokens: int | None) -> Tensor:
    length = cast(int, tokens)
    return torch.from_numpy(fourier_tables(length)[0][: half_length(length)].copy())
