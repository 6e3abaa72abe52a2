"""The parts of a Lego block: cross-attention from latent to context, gated feed-forward, and the task head."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

ATTENTION_TEMPERATURE = 0.5
LEAK = 0.01
EXPANSION = 4

Activation = Callable[[Tensor], Tensor]


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
        self.scale = attention_scale(head_width)
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
        dropout = self.dropout if self.training else 0.0
        query = self.query(self.query_norm(latent))
        read = attended(query, self.key(normed), self.value(normed), self.heads, scale=self.scale, dropout=dropout)
        return functional.leaky_relu(self.output(read), LEAK)


class GatedFeedForward(nn.Module):
    """A normalised feed-forward whose hidden values are gated.

    Args:
        width: of input and output.
        dropout: on the output.
        gate: what the gates pass through.
    """

    def __init__(self, width: int, dropout: float, *, gate: Activation = functional.selu) -> None:
        super().__init__()
        self.gate = gate
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * EXPANSION * width)
        self.contract = nn.Linear(EXPANSION * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, latent: Tensor) -> Tensor:
        """Return the update of each latent row, of the shape of the input."""
        hidden = gated(self.expand(self.norm(latent)), self.gate)
        return self.dropout(self.contract(hidden))  # type: ignore[no-any-return]


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


def gated(hidden: Tensor, gate: Activation = functional.selu) -> Tensor:
    """Return the first half of the last axis times the activation of the second half."""
    value, gates = hidden.chunk(2, dim=-1)
    return value * gate(gates)


def attention_scale(head_width: int) -> float:
    """Return the factor of a query's product with a key: a softmax of fixed temperature over the usual scores."""
    return 1 / (math.sqrt(head_width) * ATTENTION_TEMPERATURE)


def attended(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    heads: int,
    *,
    scale: float,
    bias: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Return what each query reads, `(rows, queries, heads * head_width)`.

    Args:
        query: `(rows, queries, heads * head_width)`.
        key: `(rows, keys, heads * head_width)`.
        value: `(rows, keys, …)`, of any width that the number of heads divides.
        heads: number of heads.
        scale: factor of the scores.
        bias: added to the scores, `(…, keys)` that broadcasts over `(rows, heads, queries, keys)`; minus infinity
            leaves a key out.
        dropout: on the probabilities.
    """
    queries, keys, values = (split_heads(tensor, heads) for tensor in (query, key, value))
    return joined_heads(
        functional.scaled_dot_product_attention(queries, keys, values, bias, dropout_p=dropout, scale=scale)
    )


def split_heads(values: Tensor, heads: int) -> Tensor:
    """Return `(rows, heads, length, head_width)` of `(rows, length, heads * head_width)`."""
    return split_columns(values, heads).transpose(-3, -2)


def split_columns(values: Tensor, parts: int) -> Tensor:
    """Return the last axis cut into `parts` of equal size, `(…, parts, size)`."""
    return values.reshape(*values.shape[:-1], parts, values.shape[-1] // parts)


def joined_heads(values: Tensor) -> Tensor:
    """Return `(rows, length, heads * head_width)` of `(rows, heads, length, head_width)`."""
    return values.transpose(1, 2).flatten(2)
