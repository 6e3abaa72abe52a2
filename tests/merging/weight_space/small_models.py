"""Small models of one form: a base, and models fine-tuned from it."""

from __future__ import annotations

import torch

SHAPES = {"embed.weight": (6, 4), "blocks.0.fc.weight": (5, 4), "blocks.0.fc.bias": (5,), "norm.weight": (5,)}


def drawn(seed: int, *, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}
    return {**tensors, "norm.weight": 1 + 0.1 * tensors["norm.weight"]}


def tuned(base: dict[str, torch.Tensor], seed: int, *, by: float = 0.05) -> dict[str, torch.Tensor]:
    """Return a model a small step from its base."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: tensor + by * torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
        for name, tensor in base.items()
    }


def family(count: int = 2, *, dtype: torch.dtype = torch.float32) -> dict[str, dict[str, torch.Tensor]]:
    """Return a base and `count` models fine-tuned from it, called a, b, …"""
    base = drawn(0, dtype=dtype)
    return {"base": base, **{chr(ord("a") + i): tuned(base, i + 1) for i in range(count)}}
