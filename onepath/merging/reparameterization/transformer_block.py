"""A transformer block of plain linear layers, made to take a second path through another block's, and a model of them.

The block that the figure of Multimodal Pathway (arXiv 2401.14405) shows: pre-norm attention and feed-forward, a
residual around each, and a second path through each of the six linear layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.attach import Training, reparameterize

LAYERS = ("query", "key", "value", "output", "expand", "contract")
"""The names of a block's linear layers."""


class MPTransformerBlock(nn.Module):
    """A pre-norm transformer block; with an auxiliary, each of its six linear layers has a second path.

    Without an auxiliary it is the plain class into which the collapsed state loads.

    Args:
        dim: width of a token.
        heads: of the attention; they divide `dim`.
        ff_mult: width of the feed-forward in parts of `dim`.
        dropout: on attention probabilities and on what each half adds, in training.
        auxiliary: a block of the same sizes, or layer names, see `LAYERS`, to linear layers; their weights are copied.
        training: whether the auxiliary weights are trained too, or only the scales λ.

    Raises:
        UnsupportedModuleError: the heads do not divide `dim`, or an auxiliary does not fit.

    >>> block = MPTransformerBlock(16, heads=2, auxiliary=MPTransformerBlock(16, heads=2))
    >>> block(torch.zeros(2, 5, 16)).shape
    torch.Size([2, 5, 16])
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int = 8,
        ff_mult: int = 4,
        dropout: float = 0.0,
        auxiliary: nn.Module | Mapping[str, nn.Linear] | None = None,
        training: Training = "trainable",
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise UnsupportedModuleError(f"{heads} heads", f"they do not divide a width of {dim}", "choose a divisor")
        self.heads, self.dropout = heads, dropout
        self.attention_norm = nn.LayerNorm(dim)
        self.query, self.key, self.value, self.output = (nn.Linear(dim, dim) for _ in range(4))
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, dim * ff_mult)
        self.contract = nn.Linear(dim * ff_mult, dim)
        if auxiliary is not None:
            attach_to_block(self, auxiliary, training=training)

    def forward(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """Return the updated tokens, `(rows, tokens, dim)`.

        Args:
            tokens: `(rows, tokens, dim)`.
            present: bool `(rows, tokens)`, False for tokens that the others must not see; all are seen without it.
        """
        tokens = tokens + self._dropped(self._attended(self.attention_norm(tokens), present))
        hidden = functional.gelu(self.expand(self.feed_forward_norm(tokens)))
        return tokens + self._dropped(self.contract(hidden))

    def extra_repr(self) -> str:
        """Return what beside the weights decides the output: part of a bundle's digest."""
        return f"heads={self.heads}"

    def _attended(self, normed: Tensor, present: Tensor | None) -> Tensor:
        query, key, value = (self._split(layer(normed)) for layer in (self.query, self.key, self.value))
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        if present is not None:
            scores = scores.masked_fill(~present[:, None, None], torch.finfo(scores.dtype).min)
        read = self._dropped(scores.softmax(-1)) @ value
        return cast(Tensor, self.output(read.transpose(1, 2).flatten(2)))

    def _split(self, values: Tensor) -> Tensor:
        rows, count, width = values.shape
        return values.reshape(rows, count, self.heads, width // self.heads).transpose(1, 2)

    def _dropped(self, values: Tensor) -> Tensor:
        return functional.dropout(values, self.dropout, self.training)


class MPTransformer(nn.Module):
    """A classifier of token sequences, made of `MPTransformerBlock`s.

    Args:
        vocabulary: number of token ids.
        length: the most tokens of a row.
        classes: number of logits.
        dim: width of a token.
        depth: number of blocks.
        heads: of the attention.
        ff_mult: width of the feed-forward in parts of `dim`.
        dropout: see `MPTransformerBlock`.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        length: int,
        classes: int,
        dim: int = 64,
        depth: int = 2,
        heads: int = 4,
        ff_mult: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, dim)
        self.positions = nn.Parameter(
            torch.randn(length, dim)
        )  # as large as the embeddings, or order is hardly learned
        self.blocks = nn.ModuleList(
            MPTransformerBlock(dim, heads=heads, ff_mult=ff_mult, dropout=dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, ids: Tensor, present: Tensor | None = None) -> Tensor:
        """Return logits, `(rows, classes)`: of the mean of the tokens that are there.

        Args:
            ids: integers `(rows, tokens)`, at most `length` tokens.
            present: bool `(rows, tokens)`; all are there without it. A row without any gives a finite answer.
        """
        here = torch.ones_like(ids, dtype=torch.bool) if present is None else present
        tokens = self.embedding(ids.long()) + self.positions[: ids.shape[1]]
        for block in self.blocks:
            tokens = block(tokens, here)
        share = here.to(tokens.dtype).unsqueeze(-1)
        pooled = (self.norm(tokens) * share).sum(1) / share.sum(1).clamp(min=1.0)
        return cast(Tensor, self.head(pooled))


def attach_to_block(
    block: MPTransformerBlock,
    auxiliary: nn.Module | Mapping[str, nn.Linear],
    *,
    training: Training = "trainable",
    name: str | None = None,
) -> None:
    """Give a block's linear layers a second path, in place.

    Args:
        block: to extend; calling this again with another auxiliary extends it further.
        auxiliary: a block of the same sizes, or some of `LAYERS` to linear layers.
        training: see `MPTransformerBlock`.
        name: what reports call the auxiliary.

    Raises:
        UnsupportedModuleError: a layer's name is unknown, or it does not fit; the block is then as it was.
    """
    others = nn.ModuleDict(dict(auxiliary)) if isinstance(auxiliary, Mapping) else auxiliary
    names = [name for name in LAYERS if not isinstance(auxiliary, Mapping) or name in auxiliary]
    if isinstance(auxiliary, Mapping) and len(names) < len(auxiliary):
        unknown = next(name for name in auxiliary if name not in LAYERS)
        raise UnsupportedModuleError(f"the layer {unknown!r}", "a block has none", f"use some of {', '.join(LAYERS)}")
    reparameterize(block, others, layers={layer: layer for layer in names}, training=training, name=name)
