"""The parts of a Lego block: cross-attention from latent to context, gated feed-forward, and the task head."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

ATTENTION_TEMPERATURE = 0.5
LEAK = 0.01
EXPANSION = 4


class CrossAttention(nn.Module):
    """Attention of latent rows over context tokens: both normalised, output through a leaky ReLU.

    Args:
        width: of the latent and of the output.
        context_width: of a context token.
        heads: number of heads.
        head_width: of one head.
        dropout: on the attention probabilities.
    """

    def __init__(self, width: int, context_width: int, heads: int, head_width: int, dropout: float) -> None:
        super().__init__()
        inner = heads * head_width
        self.heads = heads
        self.dropout = dropout
        self.scale = head_width**-0.5 / ATTENTION_TEMPERATURE
        self.query_norm = nn.LayerNorm(width)
        self.context_norm = nn.LayerNorm(context_width)
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(context_width, inner, bias=False)
        self.value = nn.Linear(context_width, inner, bias=False)
        self.output = nn.Linear(inner, width)

    def forward(self, latent: Tensor, context: Tensor) -> Tensor:
        """Return what the latent reads in the context, `(rows, latents, width)`.

        Args:
            latent: `(rows, latents, width)`.
            context: `(rows, tokens, context_width)`.
        """
        normed = self.context_norm(context)
        query = split_heads(self.query(self.query_norm(latent)), self.heads)
        key, value = split_heads(self.key(normed), self.heads), split_heads(self.value(normed), self.heads)
        dropout = self.dropout if self.training else 0.0
        read = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, scale=self.scale)
        return functional.leaky_relu(self.output(joined_heads(read)), LEAK)


class GatedFeedForward(nn.Module):
    """A normalised feed-forward whose hidden values are gated by SELU.

    Args:
        width: of input and output.
        dropout: on the output.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * EXPANSION * width)
        self.contract = nn.Linear(EXPANSION * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, latent: Tensor) -> Tensor:
        """Return the update of each latent row, of the shape of the input."""
        return self.dropout(self.contract(gated(self.expand(self.norm(latent)))))  # type: ignore[no-any-return]


class LegoLayer(nn.Module):
    """One depth of a block: cross-attention and feed-forward, each added to its input."""

    def __init__(self, attention: CrossAttention, feed_forward: GatedFeedForward) -> None:
        super().__init__()
        self.attention = attention
        self.feed_forward = feed_forward

    def forward(self, latent: Tensor, context: Tensor) -> Tensor:
        """Return the updated latent, `(rows, latents, width)`."""
        attended = self.attention(latent, context) + latent
        return self.feed_forward(attended) + attended  # type: ignore[no-any-return]


class TaskHead(nn.Module):
    """Layer normalisation and a linear map, on a latent averaged over its rows."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, classes)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return logits `(rows, classes)` of `(rows, width)`."""
        return self.linear(self.norm(pooled))  # type: ignore[no-any-return]


def gated(hidden: Tensor) -> Tensor:
    """Return the first half of the last axis times SELU of the second half."""
    value, gate = hidden.chunk(2, dim=-1)
    return value * functional.selu(gate)


def split_heads(values: Tensor, heads: int) -> Tensor:
    """Return `(rows, heads, length, head_width)` of `(rows, length, heads * head_width)`."""
    return split_columns(values, heads).transpose(-3, -2)


def split_columns(values: Tensor, parts: int) -> Tensor:
    """Return the last axis cut into `parts` of equal size, `(…, parts, size)`."""
    return values.reshape(*values.shape[:-1], parts, values.shape[-1] // parts)


def joined_heads(values: Tensor) -> Tensor:
    """Return `(rows, length, heads * head_width)` of `(rows, heads, length, head_width)`."""
    return values.transpose(1, 2).flatten(2)
