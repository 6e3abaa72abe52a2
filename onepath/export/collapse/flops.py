"""FLOPs of a model and of its layers on an example, as torch counts them."""

from __future__ import annotations

import copy
from collections import Counter
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
    """Return the FLOPs of the calls of each module that was called, by its path; the whole model's under the empty one.

    Two for each multiplication of matrix products, convolutions and attentions; element-wise work is not counted. The
    model runs once, in eval mode, on a copy, so that nothing of it changes.

    Args:
        model: on the device of the example.
        example: see `Example`.
    """
    model, counts = copy.deepcopy(model).eval().requires_grad_(False), Counter[str]()
    with torch.no_grad(), _plain_attention(), FlopCounterMode(display=False) as counter:
        for path, module in model.named_modules():
            _count_calls(module, path, counts, counter)
        if callable(example):
            example(model)
        else:
            model(*example)
        return {**counts, "": counter.get_total_flops()}


def _count_calls(module: nn.Module, path: str, counts: Counter[str], counter: FlopCounterMode) -> None:
    """Let a module add what its calls cost to the count of its path."""

    def begin(*_: object) -> None:
        counts[path] -= counter.get_total_flops()

    def end(*_: object) -> None:
        counts[path] += counter.get_total_flops()

    module.register_forward_pre_hook(begin)
    module.register_forward_hook(end)


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
