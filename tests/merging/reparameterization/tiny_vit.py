"""A vision transformer of the golden file's sizes, with the parameter names that such models commonly have."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.merging.golden import m2pt

LAYERS = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]


class PatchEmbedding(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, 8, stride=8)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        rows, count, width = tokens.shape
        query, key, value = (
            self.qkv(tokens).reshape(rows, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        )
        read = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(read.transpose(1, 2).reshape(rows, count, width))


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(tokens)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = FeedForward(width)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class TinyViT(nn.Module):
    def __init__(self, width: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 17, width))
        self.patch_embed = PatchEmbedding(width)
        self.blocks = nn.Sequential(*(Block(width, 4) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embed(images)
        tokens = torch.cat([self.cls_token.expand(images.shape[0], -1, -1), patches], dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(tokens))[:, 0])


def golden_state(prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): torch.from_numpy(value) for key, value in m2pt().items() if key.startswith(prefix)
    }


def golden_vit(role: str) -> TinyViT:
    model = TinyViT()
    model.load_state_dict(golden_state(f"vit/{role}/"), strict=True)
    return model.eval()


def golden_input() -> Tensor:
    return torch.from_numpy(m2pt()["vit/x"])


def set_scales(model: nn.Module, values: np.ndarray | list[float], link: int = 0) -> None:
    """Set λ of each golden layer, in the golden order."""
    for layer, value in zip(m2pt()["vit/layer_names"], values, strict=True):
        model.get_submodule(str(layer)).parametrizations.weight[link].scale.data.fill_(float(value))


def merged_state(model: nn.Module) -> Mapping[str, Tensor]:
    return golden_state("vit/target/") | golden_state("vit/merged/")
