"""A pre-norm transformer whose layers are named as timm names them, so that pathways find their pairs by name."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Self-attention with one fused projection of queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(rows, tokens, width)` from the same."""
        # Written out: the export of scaled_dot_product_attention turns the keys by nine operators on shapes.
        tokens, width = x.shape[1], x.shape[2]
        split = self.qkv(x).reshape(-1, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        queries, keys, values = split.unbind(0)
        scale = (width // self.heads) ** -0.5
        mixed = torch.softmax(queries @ keys.transpose(-2, -1) * scale, dim=-1) @ values
        joined: Tensor = self.proj(mixed.transpose(1, 2).reshape(-1, tokens, width))
        return joined


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(…, width)` from the same."""
        narrowed: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return narrowed


class Block(nn.Module):
    """Attention and an MLP, each on a normalised input and added to it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(rows, tokens, width)` from the same."""
        x = x + self.attn(self.norm1(x))
        added: Tensor = x + self.mlp(self.norm2(x))
        return added


class PooledTransformer(nn.Module):
    """Pieces of a row to tokens, through blocks, to the mean of the normalised tokens.

    Args:
        patch: values in one piece.
        tokens: pieces of one row.
        width: width of the blocks.
        depth: number of blocks.
        heads: heads of each block's attention.
    """

    def __init__(self, *, patch: int, tokens: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Linear(patch, width)
        self.positions = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, pieces: Tensor) -> Tensor:
        """Return features `(rows, width)` of pieces `(rows, tokens, patch)`."""
        x = self.embed(pieces) + self.positions
        for block in self.blocks:
            x = block(x)
        features: Tensor = self.norm(x).mean(dim=1)
        return features
