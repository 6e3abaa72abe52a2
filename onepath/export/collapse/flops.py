"""FLOPs of a model and of its layers on an example, as torch counts them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, cast

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

Example = tuple[Any, ...] | Callable[[nn.Module], object]
"""The arguments of one call of a model, or a function that makes one; of any types that the model takes."""

FUSION = "fuse"
"""The method of a multimodal model whose own work is counted as if it were a module."""


def flops_by_module(model: nn.Module, example: Example) -> dict[str, int]:
    """Return the FLOPs of each module and of all in it, by its path; the whole model's under the empty one.

    Of a module that is not called itself, as a block whose layers its model calls one by one, they are those of the
    calls of its parts. Under `fuse`, below the path of a multimodal model, is what its fusion does outside of modules.

    Two for each multiplication of matrix products, convolutions and attentions; element-wise work is not counted. The
    model runs once, in eval mode, on a copy, so that nothing of it changes.

    Args:
        model: on the device of the example.
        example: see `Example`.
    """
    model = copy.deepcopy(model).eval().requires_grad_(False)
    with torch.no_grad(), _plain_attention(), FlopCounterMode(display=False) as counter:
        calls = _Calls(counter)
        for path, module in model.named_modules():
            calls.watch(module, path)
        run_example(model, example)
        return {**calls.flops, "": counter.get_total_flops()}


def run_example(model: nn.Module, example: Example) -> None:
    """Call the model once, as the example says."""
    if callable(example):
        example(model)
    else:
        model(*example)


@dataclass
class _Call:
    path: str
    start: int
    within: int = 0  # FLOPs of the calls in this one


@dataclass
class _Calls:
    """The calls of a model's modules that are going on, and the FLOPs of those that ended."""

    counter: FlopCounterMode
    flops: Counter[str] = field(default_factory=Counter)
    going_on: list[_Call] = field(default_factory=list)

    def watch(self, module: nn.Module, path: str) -> None:
        """Let the calls of a module be counted, and those of its fusion where it has one."""
        module.register_forward_pre_hook(lambda *_: self._begin(path))
        module.register_forward_hook(lambda *_: self._end(path))
        if all(hasattr(module, name) for name in ("encoders", FUSION, "absent", "modalities")):
            vars(module)[FUSION] = self._fusion(cast(Any, module).fuse, f"{path}.{FUSION}".lstrip("."))

    def _fusion(self, fuse: Callable[..., object], path: str) -> Callable[..., object]:
        @wraps(fuse)
        def counted(*args: object, **kwargs: object) -> object:
            self._begin(path)
            outputs = fuse(*args, **kwargs)
            call = self._ended()
            self.flops[path] += self.counter.get_total_flops() - call.start - call.within
            return outputs

        return counted

    def _begin(self, path: str) -> None:
        self.going_on.append(_Call(path, self.counter.get_total_flops()))

    def _end(self, path: str) -> None:
        call = self._ended()
        flops = self.counter.get_total_flops() - call.start
        for around in (path, *_above(path)):
            if not any(other.path == around or other.path.startswith(f"{around}.") for other in self.going_on):
                self.flops[around] += flops

    def _ended(self) -> _Call:
        call = self.going_on.pop()
        if self.going_on:
            self.going_on[-1].within += self.counter.get_total_flops() - call.start
        return call


def _above(path: str) -> Iterator[str]:
    """Return the paths of the modules around a module, without the model's."""
    while "." in path:
        path = path.rpartition(".")[0]
        yield path


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
