"""Tensors that are one: shared in memory, or equal wherever they occur."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

_Key = tuple[object, ...]


def leaders(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return, for each tensor, the first name of the same memory: its own, unless it is tied to one before it."""
    first: dict[_Key, str] = {}
    return {name: name if key is None else first.setdefault(key, name) for name, key in _keyed(tensors)}


def duplicates(tensors: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """Return the pairs of matrices that are shared or equal, each with the first of its like; constants do not count.

    A file of weights does not say what was shared in memory, but weights that have learned anything are equal only
    where they were.
    """
    found, seen = [], dict[_Key, list[str]]()
    for name, tensor in tensors.items():
        if tensor.ndim < 2 or not tensor.is_floating_point() or _is_constant(tensor):
            continue
        like = seen.setdefault(_fingerprint(tensor), [])
        first = next((other for other in like if torch.equal(tensors[other], tensor)), None)
        if first is None:
            like.append(name)
        else:
            found.append((first, name))
    return found


def _keyed(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, _Key | None]]:
    for name, tensor in tensors.items():
        place = (str(tensor.device), tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        yield name, place if tensor.numel() else None


def _fingerprint(tensor: Tensor) -> _Key:
    return (tensor.shape, tensor.dtype, str(tensor.device), float(tensor.sum(dtype=torch.float64)))


def _is_constant(tensor: Tensor) -> bool:
    return tensor.numel() == 0 or bool((tensor == tensor.flatten()[0]).all())
