"""The token mixer of a block without an encoder: self-attention, then a feed-forward, each added to its input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from onepath.merging.lego.layers import LEAK, GatedFeedForward, attended, attention_scale


class SelfAttention(nn.Module):
    """Attention of tokens over each other: normalised, output through a leaky ReLU.

    Args:
        width: of a token.
        heads: number of heads.
        head_width: of one head.
        dropout: on the attention probabilities.
    """

    def __init__(self, width: int, heads: int, head_width: int, dropout: float) -> None:
        super().__init__()
        inner = heads * head_width
        self.heads, self.dropout = heads, dropout
        self.scale = attention_scale(head_width)
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(width, inner, bias=False)
        self.value = nn.Linear(width, inner, bias=False)
        self.output = nn.Linear(inner, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the update of each token, of the shape of the input."""
        normed = self.norm(tokens)
        query, key, value = self.query(normed), self.key(normed), self.value(normed)
        dropout = self.dropout if self.training else 0.0
        read = attended(query, key, value, self.heads, scale=self.scale, dropout=dropout)
        return functional.leaky_relu(self.output(read), LEAK)


class TokenMixer(nn.Module):
    """Self-attention and feed-forward on `(rows, tokens, width)`.

    The published block applies both to its input and keeps the second alone; here they follow each other.

    Args:
        attention: of the tokens over each other.
        feed_forward: on each token.
    """

    def __init__(self, attention: SelfAttention, feed_forward: GatedFeedForward) -> None:
        super().__init__()
        self.attention = attention
        self.feed_forward = feed_forward

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the mixed tokens, of the shape of the input."""
        mixed = self.attention(tokens) + tokens
        return self.feed_forward(mixed) + mixed  # type: ignore[no-any-return]


class MixedByEach(nn.Module):
    """What every depth reads of the same tokens: `(rows, tokens, width) -> (rows, mixers, tokens, width)`.

    Args:
        mixers: one a depth; one in all where the depths share their weights.
    """

    def __init__(self, mixers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.each = nn.ModuleList(mixers)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the tokens of each mixer."""
        return torch.stack([mixer(tokens) for mixer in self.each], dim=1)
