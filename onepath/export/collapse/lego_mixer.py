"""The mixers of a block without an encoder, with their norms folded in."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from onepath.export.collapse.constants import linear_after_norm, linear_from
from onepath.merging.lego.block import LegoBlock
from onepath.merging.lego.layers import LEAK, attended, gated
from onepath.merging.lego.mixers import MixedByEach, TokenMixer


class FoldedMixer(nn.Module):
    """A `TokenMixer` without gains and without dropout: `(rows, tokens, width)` to the same shape.

    Args:
        mixer: to take the weights from.
        alone: there is one token, so that it reads itself whatever query and key are.
    """

    def __init__(self, mixer: TokenMixer, *, alone: bool) -> None:
        super().__init__()
        attention, feed_forward = mixer.attention, mixer.feed_forward
        self.heads, self.scale = attention.heads, attention.scale
        self.query = None if alone else linear_after_norm(attention.norm, attention.query)
        self.key = None if alone else linear_after_norm(attention.norm, attention.key)
        self.value = linear_after_norm(attention.norm, attention.value)
        self.output = linear_from(attention.output.weight, attention.output.bias)
        self.expand = linear_after_norm(feed_forward.norm, feed_forward.expand)
        self.contract = linear_from(feed_forward.contract.weight, feed_forward.contract.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the mixed tokens, of the shape of the input."""
        mixed = functional.leaky_relu(self.output(self._read(_normed(tokens))), LEAK) + tokens
        update: Tensor = self.contract(gated(self.expand(_normed(mixed))))
        return update + mixed

    def _read(self, normed: Tensor) -> Tensor:
        value: Tensor = self.value(normed)
        if self.query is None or self.key is None:
            return value
        return attended(self.query(normed), self.key(normed), value, self.heads, scale=self.scale)


class TokensOfEach(nn.Module):
    """The values as tokens, sent through every mixer: `values -> (rows, mixers, tokens, feature_dim)`."""

    def __init__(self, mixers: MixedByEach) -> None:
        super().__init__()
        self.mixers = mixers

    def forward(self, values: Tensor) -> Tensor:
        """Return the tokens of each mixer."""
        tokens = values.unsqueeze(1) if values.ndim == 2 else values
        return self.mixers(tokens)  # type: ignore[no-any-return]


def folded_mixers(block: LegoBlock) -> TokensOfEach:
    """Return the mixers of a block without an encoder, folded."""
    alone, count = block.settings.tokens == 1, len(block.layers)
    return TokensOfEach(MixedByEach([FoldedMixer(block.mixer(index), alone=alone) for index in range(count)]))


def _normed(tokens: Tensor) -> Tensor:
    return functional.layer_norm(tokens, tokens.shape[-1:])
