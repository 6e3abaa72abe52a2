"""FLOPs of a model and of its layers on an example, as torch counts them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

Example = tuple[Any, ...] | Callable[[nn.Module], object]
"""The arguments of one call of a model, or a function that makes one; of any types that the model takes."""


def flops_by_module(model: nn.Module, example: Example) -> dict[str, int]:
    """Return the FLOPs of each module's calls by its path, the whole model's under the empty path.

    Two for each multiplication of matrix products, convolutions and attentions; element-wise work is not counted. The
    model runs once, in eval mode, on a copy, so that nothing of it changes.

    Args:
        model: on the device of the example.
        example: see `Example`.
    """
    model = copy.deepcopy(model).eval()
    with torch.no_grad(), _plain_attention(), FlopCounterMode(display=False) as counter:
        if callable(example):
            example(model)
        else:
            model(*example)
    root = type(model).__name__
    counts = {path: sum(by_op.values()) for path, by_op in counter.get_flop_counts().items()}
    whole = counts.pop("Global", 0)
    return {path.removeprefix(f"{root}."): count for path, count in counts.items() if path != root} | {"": whole}


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Let attention run as matrix products, as torch counts nothing in its fused forms on a CPU."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
