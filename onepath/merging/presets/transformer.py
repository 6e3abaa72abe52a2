"""Pre-norm transformer blocks with timm's parameter names: one form for every modality, so that layers pair by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from onepath.contract.errors import UnsupportedModuleError

QkvBias = Literal["fused", "none", "query_value"]
PATHWAY_LAYERS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
"""The linear layers of a block, as M2PT names those that get a pathway."""


@dataclass(frozen=True)
class TransformerSettings:
    """The sizes and the form of a stack of blocks; those of the base size, unless given.

    Attributes:
        width: of the tokens; a pathway between two stacks needs it equal.
        depth: number of blocks.
        heads: of each attention; the width is cut into as many parts.
        mlp_ratio: width of the MLP's hidden layer over that of the tokens.
        qkv_bias: `fused` has one bias for queries, keys and values, `none` has none, and `query_value` has two vectors,
            `q_bias` and `v_bias`, as VideoMAE does: a bias of the keys moves no attention.
        norm_eps: added to the variance in each layer norm.
        drop_path: how often the last block is left out for a row in training; earlier blocks in proportion.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: int = 4
    qkv_bias: QkvBias = "fused"
    norm_eps: float = 1e-6
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        """Refuse sizes that make no transformer."""
        if min(self.width, self.depth, self.heads, self.mlp_ratio) < 1 or self.width % self.heads:
            raise UnsupportedModuleError(
                "the transformer's settings",
                f"width {self.width} cannot be cut into {self.heads} heads, or a size is below 1 "
                f"(depth {self.depth}, mlp_ratio {self.mlp_ratio})",
                "choose sizes of at least 1, and a width that is a multiple of heads",
            )
        if not 0 <= self.drop_path < 1:
            raise UnsupportedModuleError(
                "the transformer's settings", f"drop_path is {self.drop_path}", "choose it in [0, 1)"
            )


def transformer_blocks(settings: TransformerSettings) -> nn.ModuleList:
    """Return the blocks, each `(rows, tokens, width)` to the same.

    The rate of leaving out grows from 0 in the first block to `drop_path` in the last (Huang et al. 2016).
    """
    rates = [settings.drop_path * index / max(1, settings.depth - 1) for index in range(settings.depth)]
    return nn.ModuleList(Block(settings, rate) for rate in rates)


class Block(nn.Module):
    """Attention and an MLP, each on a normalised input and added to it."""

    def __init__(self, settings: TransformerSettings, drop_path: float = 0.0) -> None:
        super().__init__()
        width = settings.width
        self.norm1 = nn.LayerNorm(width, eps=settings.norm_eps)
        self.attn = Attention(width, settings.heads, settings.qkv_bias)
        self.norm2 = nn.LayerNorm(width, eps=settings.norm_eps)
        self.mlp = Mlp(width, settings.mlp_ratio * width)
        self.drop_path = DropPath(drop_path)
        self.apply(draw_weights)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(rows, tokens, width)` from the same."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        added: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return added


class Attention(nn.Module):
    """Self-attention with one fused projection; the weight is read as a tensor, so a parametrisation of it acts."""

    def __init__(self, width: int, heads: int, qkv_bias: QkvBias) -> None:
        super().__init__()
        self.heads, self.qkv_bias = heads, qkv_bias
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias == "fused")
        self.proj = nn.Linear(width, width)
        if qkv_bias == "query_value":
            self.q_bias = nn.Parameter(torch.zeros(width))
            self.v_bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return `(rows, tokens, width)` from the same."""
        # Written out: the export of scaled_dot_product_attention turns the keys by nine operators on shapes.
        tokens, width = x.shape[1], x.shape[2]
        split = self._projected(x).reshape(-1, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        queries, keys, values = split.unbind(0)
        scale = (width // self.heads) ** -0.5
        mixed = torch.softmax(queries @ keys.transpose(-2, -1) * scale, dim=-1) @ values
        joined: Tensor = self.proj(mixed.transpose(1, 2).reshape(-1, tokens, width))
        return joined

    def extra_repr(self) -> str:
        """Return what the parameters do not say."""
        return f"heads={self.heads}, qkv_bias={self.qkv_bias}"

    def _projected(self, x: Tensor) -> Tensor:
        if self.qkv_bias != "query_value":
            fused: Tensor = self.qkv(x)
            return fused
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        return functional.linear(x, self.qkv.weight, bias)


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


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training, a row's branch is left out; what stays is scaled up."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """Return `(rows, …)` from the same; unchanged in eval mode."""
        if not self.training or self.rate == 0:
            return branch
        kept = torch.rand(branch.shape[0], *[1] * (branch.ndim - 1), device=branch.device) >= self.rate
        return branch * kept / (1 - self.rate)

    def extra_repr(self) -> str:
        """Return the rate."""
        return f"rate={self.rate:g}"


def draw_weights(module: nn.Module) -> None:
    """Draw a linear layer's weight by Glorot's uniform rule, as MAE does, and set its bias to 0, in place."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
