"""The blocks A, I and T of the golden file."""

import torch
from torch import Tensor, nn

from onepath.merging.lego import LegoBlock, LegoSettings
from onepath.merging.lego.layers import LegoLayer
from tests.merging.golden import mm_lego, wide

TOKENS = {"A": 1, "I": 7, "T": 5}


class ToyEncoder(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.linear = nn.Linear(*mm_lego()[f"{name}.enc.w"].shape[::-1])

    def forward(self, values: Tensor) -> Tensor:
        return torch.tanh(self.linear(values))


def golden_block(name: str, *, latent: str | None = None, layers: tuple[int, ...] = (0, 1), **form: bool) -> LegoBlock:
    start = wide(latent or f"{name}.latent")
    settings = LegoSettings(
        feature_dim=12, classes=4, latents=start.shape[0], width=8, depth=len(layers), tokens=TOKENS[name], **form
    )
    block = LegoBlock(ToyEncoder(name), settings).double().eval()
    with torch.no_grad():
        for target, key in _pairs(block, name):
            target.copy_(wide(key))
        block.latent.copy_(start)
        for layer, index in zip(block.layers, layers, strict=True):
            _load_layer(layer, f"{name}.d{index}")
    return block


def golden_input(name: str) -> Tensor:
    return wide(f"x.{name}")


def golden_inputs(names: str) -> dict[str, Tensor]:
    return {name: golden_input(name) for name in names}


def golden_blocks(names: str, **form: bool) -> dict[str, LegoBlock]:
    return {name: golden_block(name, **form) for name in names}


def _pairs(block: LegoBlock, name: str) -> list[tuple[Tensor, str]]:
    head, encoder = block.head, block.encoder.linear
    return [
        (encoder.weight, f"{name}.enc.w"),
        (encoder.bias, f"{name}.enc.b"),
        (head.norm.weight, f"{name}.head.ln_g"),
        (head.norm.bias, f"{name}.head.ln_b"),
        (head.linear.weight, f"{name}.head.w"),
        (head.linear.bias, f"{name}.head.b"),
    ]


def _load_layer(layer: LegoLayer, prefix: str) -> None:
    attention, feed = layer.attention, layer.feed_forward
    pairs = {
        "ca.lnq_g": attention.query_norm.weight,
        "ca.lnq_b": attention.query_norm.bias,
        "ca.lnc_g": attention.context_norm.weight,
        "ca.lnc_b": attention.context_norm.bias,
        "ca.q_w": attention.query.weight,
        "ca.o_w": attention.output.weight,
        "ca.o_b": attention.output.bias,
        "ff.ln_g": feed.norm.weight,
        "ff.ln_b": feed.norm.bias,
        "ff.w1": feed.expand.weight,
        "ff.b1": feed.expand.bias,
        "ff.w2": feed.contract.weight,
        "ff.b2": feed.contract.bias,
    }
    for key, target in pairs.items():
        target.copy_(wide(f"{prefix}.{key}"))
    key_weight, value_weight = wide(f"{prefix}.ca.kv_w").chunk(2)
    attention.key.weight.copy_(key_weight)
    attention.value.weight.copy_(value_weight)
