"""The transformer block of the second published implementation, as it computes: for comparisons only.

One projection is shared by queries, keys, values and output, one norm is used three times, and there is no residual
around the feed-forward, unlike in the figure that it stands for: use `MPTransformerBlock` instead. Its feed-forward
norms have `dim ** ff_mult` features, so that it runs with `ff_mult` 1 only.
"""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from onepath.merging.reparameterization.attach import Training, reparameterize


class PublishedMPTransformerBlock(nn.Module):
    """The published block with `ff_mult` 1 in eval mode; see the module's text for what is odd about it.

    Args:
        dim: width of a token.
        heads: of the attention.
    """

    def __init__(self, dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.shared = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.query, self.key, self.value, self.output = (nn.Linear(dim, dim) for _ in range(4))
        self.first, self.second = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.first_norm, self.second_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def attach(self, auxiliary: nn.Module, *, training: Training = "trainable") -> None:
        """Give the shared projection and both feed-forward layers a second path through another block's, in place."""
        reparameterize(self, auxiliary, layers=["shared", "first", "second"], training=training)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return `(rows, tokens, dim)`."""
        projected = self.shared(self.norm(tokens))
        state = self.shared(self._attended(projected)) + tokens
        state = self.shared(self.shared(self.norm(state)))
        hidden = functional.gelu(self.first_norm(functional.gelu(self.first(state))))
        return cast(Tensor, self.norm(self.second_norm(self.second(hidden))))

    def extra_repr(self) -> str:
        """Return what beside the weights decides the output."""
        return f"heads={self.heads}"

    def _attended(self, projected: Tensor) -> Tensor:
        query, key, value = (self._split(layer(projected)) for layer in (self.query, self.key, self.value))
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        return cast(Tensor, self.output((scores.softmax(-1) @ value).transpose(1, 2).flatten(2)))

    def _split(self, values: Tensor) -> Tensor:
        rows, count, width = values.shape
        return values.reshape(rows, count, self.heads, width // self.heads).transpose(1, 2)
