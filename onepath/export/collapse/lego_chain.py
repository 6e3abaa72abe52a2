"""The latent part of a collapsed block: half of the spectrum, started from a constant, with no transform in between."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from onepath.export.collapse.constants import constant, linear_after_norm, linear_from
from onepath.export.collapse.lego_context import has_half_keys, unrolled_layers
from onepath.export.collapse.storing import wide
from onepath.merging.lego.block import LegoBlock
from onepath.merging.lego.domain import root
from onepath.merging.lego.fourier import Spectrum, averaged, half_length, row_counts
from onepath.merging.lego.layers import LEAK, CrossAttention, GatedFeedForward, attended, gated


class TokenReading(nn.Module):
    """Cross-attention over mixed tokens, with the gains of both norms folded into the projections.

    Args:
        attention: of one depth.
        counts: how many tokens each key stands for, `(keys,)`; one each without it.
        start: the latent `(distinct, width)` that is all it ever reads for, whose queries are then constants.
    """

    def __init__(self, attention: CrossAttention, counts: Tensor | None, start: Tensor | None = None) -> None:
        super().__init__()
        self.heads, self.scale = attention.heads, attention.scale
        self.query = linear_after_norm(attention.query_norm, attention.query) if start is None else None
        self.queries = None if start is None else constant(_queries(attention, start), attention.query.weight)
        self.key = linear_after_norm(attention.context_norm, attention.key)
        self.value = linear_after_norm(attention.context_norm, attention.value)
        self.output = linear_from(attention.output.weight, attention.output.bias)
        # A key that counts twice is a key whose score is larger by ln 2.
        self.log_counts = None if counts is None else constant(counts.log(), attention.query.weight)

    def forward(self, latent: Tensor, tokens: Tensor) -> Tensor:
        """Return the update of each latent row, from mixed tokens `(rows, keys, feature_dim)`.

        A latent that is the same for all rows, with 1 in their place, is projected once.
        """
        query = self._projected(latent).expand(tokens.shape[0], -1, -1)
        bias = None if self.log_counts is None else self.log_counts.reshape(1, 1, 1, -1)
        read = attended(query, self.key(tokens), self.value(tokens), self.heads, scale=self.scale, bias=bias)
        return functional.leaky_relu(self.output(read), LEAK)

    def _projected(self, latent: Tensor) -> Tensor:
        if self.query is None:
            return cast(Tensor, self.queries)
        return self.query(functional.layer_norm(latent, latent.shape[-1:]))  # type: ignore[no-any-return]


class ChainLayer(nn.Module):
    """One depth on the distinct rows of the spectrum's real part.

    Args:
        index: selects the depth's reading of a single token, or its own tokens.
        reading: attention over tokens, or None where the features hold the readings themselves.
        feed_forward: of that depth.
    """

    def __init__(self, index: int, reading: TokenReading | None, feed_forward: GatedFeedForward) -> None:
        super().__init__()
        self.index = index
        self.reading = reading
        self.expand = linear_after_norm(feed_forward.norm, feed_forward.expand)
        self.contract = linear_from(feed_forward.contract.weight, feed_forward.contract.bias)

    def forward(self, real: Tensor, features: Tensor) -> Tensor:
        """Return the updated rows, `(rows, distinct, width)`."""
        attended = self._attended(real, features)
        update: Tensor = self.contract(self._hidden(attended))
        return update + attended

    def pooled(self, real: Tensor, features: Tensor, shares: Tensor) -> Tensor:
        """Return the average of the updated rows, `(rows, width)`; the second product is done once, after averaging."""
        attended = self._attended(real, features)
        hidden = averaged(self._hidden(attended), shares)
        return cast(Tensor, self.contract(hidden)) + averaged(attended, shares)

    def _attended(self, real: Tensor, features: Tensor) -> Tensor:
        if self.reading is None:
            return real + features[:, self.index : self.index + 1]
        tokens = features[:, self.index] if features.ndim == 4 else features
        update: Tensor = self.reading(real, tokens)
        return real + update

    def _hidden(self, attended: Tensor) -> Tensor:
        normed = functional.layer_norm(attended, attended.shape[-1:])
        return gated(self.expand(normed))


class CollapsedChain(nn.Module):
    """All depths of a block, given its features.

    The first spectrum is a constant; the rows of a real latent's spectrum mirror each other, so half of them do; and an
    inverse transform, a normalisation and a transform together divide each column by its norm, which Parseval's theorem
    gives in the frequency domain. Transformed over its features, a latent has no rows that mirror each other, and
    all are kept.

    Args:
        block: to take the weights from.
        first: the first depth always starts from the block's own latent, so that its queries are constants; in a chain
            through several blocks that holds for the first block alone.
    """

    def __init__(self, block: LegoBlock, *, first: bool = True) -> None:
        super().__init__()
        settings = block.settings
        self.normalise = settings.normalise and settings.frequency_domain
        self.fourier_dim = settings.fourier_dim
        self.track_imaginary = settings.track_imaginary
        start, counts = _start(block), row_shares(block)
        own = start.real if first else None
        self.start_real, self.start_imag = (constant(part, block.latent) for part in start)
        self.shares = constant(counts, block.latent)
        self.layers = nn.ModuleList(
            ChainLayer(_column(block, index), _reading(block, index, own), layer.feed_forward)
            for index, layer in enumerate(unrolled_layers(block))
        )

    def start(self, rows: int = 1) -> Spectrum:
        """Return the constant first spectrum for a batch, both parts `(rows, distinct, width)`; one stands for all."""
        return Spectrum(*(part.expand(rows, *part.shape) for part in (self.start_real, self.start_imag)))

    def rescaled(self, state: Spectrum) -> Spectrum:
        """Return the spectrum that the next depth starts from."""
        imag = state.imag if self.track_imaginary else torch.zeros_like(state.imag)
        if not self.normalise:
            return Spectrum(state.real, imag)
        # Parseval: a latent column's squared norm is its spectrum's, divided by the number of rows; so for features.
        square = state.real.square() + imag.square()
        mean = averaged(square, self.shares).unsqueeze(1) if self.fourier_dim == 1 else square.mean(2, keepdim=True)
        norm = root(mean)
        return Spectrum(state.real / norm, imag / norm)

    def step(self, index: int, start: Spectrum, features: Tensor) -> Spectrum:
        """Return the spectrum after depth `index`, which starts from `start`."""
        return Spectrum(self.layers[index](start.real, features), start.imag)

    def spectrum(self, features: Tensor) -> Spectrum:
        """Return the distinct rows of the block's spectrum, both parts `(rows, distinct, width)`."""
        state = self.step(len(self.layers) - 1, self._last_start(features), features)
        return Spectrum(state.real, state.imag.expand_as(state.real))

    def pooled(self, features: Tensor) -> Tensor:
        """Return the average over all rows of the real part, `(rows, width)`."""
        last = cast(ChainLayer, self.layers[len(self.layers) - 1])
        return last.pooled(self._last_start(features).real, features, self.shares)

    def _last_start(self, features: Tensor) -> Spectrum:
        """Return the spectrum that the last depth starts from; each part has one row if it is the same for all."""
        state = self.start()
        for index in range(len(self.layers) - 1):
            state = self.rescaled(self.step(index, state, features))
        return state


def row_shares(block: LegoBlock) -> Tensor:
    """Return each kept row's part of the average over all rows, float64 `(kept,)`."""
    latents = block.settings.latents
    if not has_half_rows(block):
        return torch.full((latents,), 1 / latents, dtype=torch.float64)
    return torch.from_numpy(row_counts(latents) / latents)


def has_half_rows(block: LegoBlock) -> bool:
    """Return whether the rows of the block's spectrum mirror each other, so that half of them do."""
    return block.settings.frequency_domain and block.settings.fourier_dim == 1


def _start(block: LegoBlock) -> Spectrum:
    kept = half_length(block.settings.latents) if has_half_rows(block) else block.settings.latents
    return Spectrum(*(part[0, :kept] for part in block.started(wide(block.latent).unsqueeze(0))))


def _queries(attention: CrossAttention, start: Tensor) -> Tensor:
    """Return the queries of a latent, float64 `(1, distinct, heads * head_width)`."""
    norm = attention.query_norm
    normed = functional.layer_norm(wide(start), norm.normalized_shape, wide(norm.weight), wide(norm.bias), norm.eps)
    return (normed @ wide(attention.query.weight).T).unsqueeze(0)


def _column(block: LegoBlock, index: int) -> int:
    return 0 if block.settings.tokens != 1 and block.settings.share_layers else index


def _reading(block: LegoBlock, index: int, start: Tensor | None) -> TokenReading | None:
    if block.settings.tokens == 1:
        return None
    tokens = block.settings.tokens
    counts = torch.from_numpy(row_counts(tokens)) if has_half_keys(block) and tokens else None
    return TokenReading(block.layer(index).attention, counts, start if index == 0 else None)
