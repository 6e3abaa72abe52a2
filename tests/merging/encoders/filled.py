"""Encoders and blocks whose weights follow the golden file's fill rule: too large to store, made from their names."""

import zlib

import numpy as np
import torch
from torch import Tensor, nn

from onepath.merging.encoders import AttentionMIL, SelfNormalizingNetwork
from onepath.merging.lego import LegoBlock, LegoSettings

CLASSES = 4
SCALES = {
    "w": lambda u: u * np.sqrt(3 / u.shape[-1]),
    "b": lambda u: 0.1 * u,
    "g": lambda u: 1 + 0.2 * u,
    "x": lambda u: np.sqrt(3) * u,
}
LAYER_NAMES = {
    "attention.query_norm": ("ca.lnq_g", "ca.lnq_b"),
    "attention.context_norm": ("ca.lnc_g", "ca.lnc_b"),
    "attention.query": ("ca.q_w",),
    "attention.output": ("ca.o_w", "ca.o_b"),
    "feed_forward.norm": ("ff.ln_g", "ff.ln_b"),
    "feed_forward.expand": ("ff.w1", "ff.b1"),
    "feed_forward.contract": ("ff.w2", "ff.b2"),
}


def filled(name: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """float32 values of a tensor, from its name alone."""
    index = np.arange(np.prod(shape), dtype=np.uint32)
    mixed = _mix(index ^ _mix(np.array([zlib.crc32(name.encode())], np.uint32)))
    return SCALES[kind]((2 * (mixed + 0.5) / 2**32 - 1).reshape(shape)).astype(np.float32)


def filled_network(*, classes: int | None = None) -> SelfNormalizingNetwork:
    network = SelfNormalizingNetwork(20, classes=classes).double().eval()
    for index, layer in enumerate(network.layers):
        _fill(layer[0], f"SNN.fc{index}.w", f"SNN.fc{index}.b")
    if network.classifier is not None:
        _fill(network.classifier, "SNN.cls.w", "SNN.cls.b")
    return network


def filled_bags(*, classes: int | None = None, compat: str | None = None) -> AttentionMIL:
    encoder = AttentionMIL(10, classes=classes, compat=compat).double().eval()
    layers = {
        "fc": encoder.embed,
        "att_tanh": encoder.content,
        "att_sig": encoder.gate,
        "att_score": encoder.score,
        "rho": encoder.project,
        "cls": encoder.classifier,
    }
    for name, layer in layers.items():
        if layer is not None:
            _fill(layer, f"MIL.{name}.w", f"MIL.{name}.b")
    return encoder


def filled_block(name: str, encoder: nn.Module, *, compat: str | None = None) -> LegoBlock:
    settings = LegoSettings(encoder.feature_dim, CLASSES, latents=6, width=8, compat=compat)
    block = LegoBlock(encoder, settings).double().eval()
    block.latent.data = _filled(f"{name}.latent", block.latent, "x")
    for index, layer in enumerate(block.layers):
        for path, names in LAYER_NAMES.items():
            _fill(layer.get_submodule(path), *(f"{name}.d{index}.{part}" for part in names))
        both = torch.cat([layer.attention.key.weight, layer.attention.value.weight])
        halves = _filled(f"{name}.d{index}.ca.kv_w", both, "w").chunk(2)
        layer.attention.key.weight.data, layer.attention.value.weight.data = halves
    _fill(block.head.norm, f"{name}.head.ln_g", f"{name}.head.ln_b")
    _fill(block.head.linear, f"{name}.head.w", f"{name}.head.b")
    return block


def published_blocks() -> dict[str, LegoBlock]:
    """SB and MB in published form, whose attention mixes the rows of a batch."""
    return {
        "SB": filled_block("SB", filled_network(), compat="published"),
        "MB": filled_block("MB", filled_bags(compat="published"), compat="published"),
    }


def _fill(layer: nn.Module, *names: str) -> None:
    for parameter, name in zip(layer.parameters(), names, strict=True):
        end = name.rpartition(".")[2]
        parameter.data = _filled(name, parameter, "g" if end.endswith("g") else "w" if "w" in end else "b")


def _filled(name: str, like: Tensor, kind: str) -> Tensor:
    return torch.from_numpy(filled(name, tuple(like.shape), kind).astype(np.float64))


def _mix(values: np.ndarray) -> np.ndarray:
    values = values ^ (values >> np.uint32(16))
    values = values * np.uint32(0x7FEB352D)
    values = values ^ (values >> np.uint32(15))
    values = values * np.uint32(0x846CA68B)
    return values ^ (values >> np.uint32(16))
