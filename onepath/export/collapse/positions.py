"""Which batch normalizations an example gives values at several positions: their channels are not the last axis."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from onepath.export.collapse.flops import Example, run_example

_AT_POSITIONS: ContextVar[frozenset[int]] = ContextVar("_AT_POSITIONS", default=frozenset())


@contextmanager
def positions_known(model: nn.Module, copied: nn.Module, example: Example | None) -> Iterator[None]:
    """Let `has_positions` know what an example gives the batch normalizations of a model; nothing without one.

    Args:
        model: is run once, on a copy, if it has any.
        copied: a copy of it, whose modules are asked for.
        example: see `Example`.
    """
    paths = set[str]() if example is None else _paths_with_positions(model, example)
    parts = dict(copied.named_modules())
    token = _AT_POSITIONS.set(frozenset(id(parts[path]) for path in paths))
    try:
        yield
    finally:
        _AT_POSITIONS.reset(token)


def has_positions(norm: nn.Module) -> bool:
    """Return whether a batch normalization is known to take `(rows, channels, …)`, and not `(rows, channels)`."""
    return id(norm) in _AT_POSITIONS.get()


def _paths_with_positions(model: nn.Module, example: Example) -> set[str]:
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return set()
    found, ran = set[str](), copy.deepcopy(model).eval().requires_grad_(False)
    for path, module in ran.named_modules():
        if isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(partial(_note_positions, path=path, found=found), with_kwargs=True)
    with torch.no_grad():
        run_example(ran, example)
    return found


def _note_positions(
    _: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor], *, path: str, found: set[str]
) -> None:
    if any(values.ndim > 2 for values in (*args, *named.values())):
        found.add(path)
