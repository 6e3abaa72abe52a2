"""The blocks A, I and T of the golden file, and N1 and N2, which have no encoder."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from onepath.merging.lego import LegoBlock, LegoSettings
from onepath.merging.lego.layers import CrossAttention, GatedFeedForward, LegoLayer
from onepath.merging.lego.mixers import SelfAttention
from tests.merging.golden import mm_lego, wide

TOKENS = {"A": 1, "I": 7, "T": 5, "N1": 5, "N2": 3}


class ToyEncoder(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.linear = nn.Linear(*mm_lego()[f"{name}.enc.w"].shape[::-1])

    def forward(self, values: Tensor) -> Tensor:
        return torch.tanh(self.linear(values))


def golden_block(
    name: str, *, latent: str | None = None, layers: tuple[int, ...] = (0, 1), **form: bool | int | str
) -> LegoBlock:
    start, native = wide(latent or f"{name}.latent"), name.startswith("N")
    settings = LegoSettings(
        feature_dim=mm_lego()[f"{name}.d0.ca.lnc_g"].size,
        classes=4,
        latents=start.shape[0],
        width=8,
        depth=len(layers),
        tokens=TOKENS[name],
        **form,
    )
    block = LegoBlock(None if native else ToyEncoder(name), settings).double().eval()
    with torch.no_grad():
        for target, key in _pairs(block, name):
            target.copy_(wide(key))
        block.latent.copy_(start)
        for layer, index in zip(block.layers, layers, strict=True):
            _load_layer(layer, f"{name}.d{index}")
        for depth, index in enumerate(layers if native else ()):
            _load_attention(block.mixer(depth).attention, f"{name}.d{index}.sa")
            _load_feed_forward(block.mixer(depth).feed_forward, f"{name}.d{index}.sff")
    return block


def golden_input(name: str) -> Tensor:
    return wide(f"x.{name}")


def golden_inputs(names: Iterable[str]) -> dict[str, Tensor]:
    return {name: golden_input(name) for name in names}


def golden_blocks(names: Iterable[str], **form: bool | int | str) -> dict[str, LegoBlock]:
    return {name: golden_block(name, **form) for name in names}


def _pairs(block: LegoBlock, name: str) -> list[tuple[Tensor, str]]:
    head = block.head
    encoder = [] if block.encoder is None else [*block.encoder.linear.parameters()]
    return [
        *zip(encoder, (f"{name}.enc.w", f"{name}.enc.b"), strict=False),
        (head.norm.weight, f"{name}.head.ln_g"),
        (head.norm.bias, f"{name}.head.ln_b"),
        (head.linear.weight, f"{name}.head.w"),
        (head.linear.bias, f"{name}.head.b"),
    ]


def _load_layer(layer: LegoLayer, prefix: str) -> None:
    attention = layer.attention
    pairs = {
        "ca.lnq_g": attention.query_norm.weight,
        "ca.lnq_b": attention.query_norm.bias,
        "ca.lnc_g": attention.context_norm.weight,
        "ca.lnc_b": attention.context_norm.bias,
        "ca.q_w": attention.query.weight,
        "ca.o_w": attention.output.weight,
        "ca.o_b": attention.output.bias,
    }
    _load(pairs, prefix)
    _load_keys_and_values(attention, f"{prefix}.ca")
    _load_feed_forward(layer.feed_forward, f"{prefix}.ff")


def _load_attention(attention: SelfAttention, prefix: str) -> None:
    pairs = {
        "ln_g": attention.norm.weight,
        "ln_b": attention.norm.bias,
        "q_w": attention.query.weight,
        "o_w": attention.output.weight,
        "o_b": attention.output.bias,
    }
    _load(pairs, prefix)
    _load_keys_and_values(attention, prefix)


def _load_feed_forward(feed: GatedFeedForward, prefix: str) -> None:
    pairs = {
        "ln_g": feed.norm.weight,
        "ln_b": feed.norm.bias,
        "w1": feed.expand.weight,
        "b1": feed.expand.bias,
        "w2": feed.contract.weight,
        "b2": feed.contract.bias,
    }
    _load(pairs, prefix)


def _load(pairs: dict[str, Tensor], prefix: str) -> None:
    for key, target in pairs.items():
        target.copy_(wide(f"{prefix}.{key}"))


def _load_keys_and_values(attention: CrossAttention | SelfAttention, prefix: str) -> None:
    key_weight, value_weight = wide(f"{prefix}.kv_w").chunk(2)
    attention.key.weight.copy_(key_weight)
    attention.value.weight.copy_(value_weight)
