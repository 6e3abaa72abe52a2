"""Where weights lie in memory, to tell those that share some of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from onepath.merging.reparameterization.weights import WeightAddress, parametrizations_of


class ByteRange(NamedTuple):
    """Bytes of memory from the first to before the last."""

    device: torch.device
    first: int
    last: int


def overlaps(ranges: list[ByteRange], others: list[ByteRange]) -> int:
    """Return how many pairs of ranges have bytes in common."""
    return sum(a.device == b.device and a.first < b.last and b.first < a.last for a in ranges for b in others)


def memory_of(address: WeightAddress) -> list[ByteRange]:
    """Return where the tensors that make up a weight lie; addresses tell also storages made over the same memory."""
    return [_range(tensor) for tensor in _stored(address) if _has_memory(tensor)]


def _range(tensor: Tensor) -> ByteRange:
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    first = tensor.data_ptr()
    return ByteRange(tensor.device, first, first + (reach + 1) * tensor.element_size())


def _has_memory(tensor: Tensor) -> bool:
    return not is_lazy(tensor) and tensor.layout is torch.strided and not tensor.is_meta and tensor.numel() > 0


def _stored(address: WeightAddress) -> list[Tensor]:
    links = parametrizations_of(address.module)
    if address.tensor_name in links:
        held = links[address.tensor_name]
        return [*held.parameters(recurse=False), *held.buffers(recurse=False)]
    return [address.value]
