"""The vision tower of MultiMeditron's golden arrays, see tests/golden/README.md, on pixels as they are."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from onepath.merging.encoders.pixels import PixelNormalization
from tests.merging.golden import FOLDER

_WIDTH, _HEADS = 32, 4


@lru_cache
def multimeditron() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "multimeditron.npz") as file:
        return dict(file)


def pixels() -> Tensor:
    return torch.from_numpy(multimeditron()["pixels"])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            self.add_module(name, nn.Linear(_WIDTH, _WIDTH))

    def forward(self, tokens: Tensor) -> Tensor:
        parts = [layer(tokens).unflatten(2, (_HEADS, -1)).transpose(1, 2) for layer in self.children()]
        key, value, query = parts[:3]
        read = (query @ key.transpose(2, 3) / (_WIDTH // _HEADS) ** 0.5).softmax(-1) @ value
        return self.out_proj(read.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = Attention()
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(_WIDTH), nn.LayerNorm(_WIDTH)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(_WIDTH, 64), "fc2": nn.Linear(64, _WIDTH)})

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.self_attn(self.layer_norm1(tokens))
        hidden = self.mlp["fc1"](self.layer_norm2(tokens))
        return tokens + self.mlp["fc2"](hidden * torch.sigmoid(1.702 * hidden))


class Embeddings(nn.Module):
    def __init__(self, normalization: nn.Module) -> None:
        super().__init__()
        self.normalization = normalization
        self.class_embedding = nn.Parameter(torch.zeros(_WIDTH))
        self.patch_embedding = nn.Conv2d(3, _WIDTH, 8, stride=8, bias=False)
        self.position_embedding = nn.Embedding(17, _WIDTH)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embedding(self.normalization(images)).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(patches.shape[0], 1, -1)
        return torch.cat([first, patches], dim=1) + self.position_embedding.weight


class ClipTower(nn.Module):
    """Pixels `(rows, 3, 32, 32)` to tokens `(rows, 16, 32)`, without the class token and the last norm."""

    def __init__(self, normalization: nn.Module) -> None:
        super().__init__()
        self.embeddings = Embeddings(normalization)
        self.pre_layrnorm = nn.LayerNorm(_WIDTH)
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList([Layer(), Layer()])})

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.pre_layrnorm(self.embeddings(images))
        for layer in self.encoder["layers"]:
            tokens = layer(tokens)
        return tokens[:, 1:]


def golden_tower() -> ClipTower:
    arrays = multimeditron()
    mean, std = arrays["meta/image_mean"].tolist(), arrays["meta/image_std"].tolist()
    tower = ClipTower(PixelNormalization(mean, std)).eval()
    prefix = "weights/vision/"
    state = {name.removeprefix(prefix): torch.from_numpy(arrays[name]) for name in arrays if name.startswith(prefix)}
    tower.load_state_dict(state, strict=True)
    return tower
