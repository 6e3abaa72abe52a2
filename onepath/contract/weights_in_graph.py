"""Whether a graph computes with the weights that the bundle says it was made of, as far as their bytes tell."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onepath.contract.digests import sha256_from_bytes
from onepath.contract.graph_files import GraphTensor, graph_tensors
from onepath.contract.weight_files import WeightTensor, weight_tensors

_ONNX_FLOAT, _SAFETENSORS_FLOAT = 1, "F32"


@dataclass(frozen=True)
class FoundWeights:
    """Which float32 weights a graph holds.

    Attributes:
        equal: names of those whose bytes are there.
        transposed: names of those that are there with rows and columns exchanged.
        missing: names of the others, which were folded into something, are not used, or are not the graph's.
    """

    equal: tuple[str, ...]
    transposed: tuple[str, ...]
    missing: tuple[str, ...]


def weights_in_graph(weights: Path, graph: Path) -> FoundWeights:
    """Return which float32 tensors of a safetensors file are among the tensors of an ONNX graph.

    Raises:
        ValueError: one of the files is not of its kind.
    """
    in_graph = set(_digests_of_graph(graph))
    equal, transposed, missing = list[str](), list[str](), list[str]()
    with weights.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for tensor in weight_tensors(weights):
            if tensor.dtype != _SAFETENSORS_FLOAT:
                continue
            own, other = _digests_of_weight(tensor, data)
            place = equal if own in in_graph else transposed if other in in_graph else missing
            place.append(tensor.name)
    return FoundWeights(tuple(equal), tuple(transposed), tuple(missing))


def _digests_of_weight(tensor: WeightTensor, data: mmap.mmap) -> tuple[str, str]:
    """Return the digest of a tensor's bytes, and of those of its transpose."""
    content = data[tensor.start : tensor.start + tensor.size_bytes]
    own = sha256_from_bytes(content)
    if len(tensor.shape) != 2:
        return own, own
    return own, sha256_from_bytes(np.frombuffer(content, "<f4").reshape(tensor.shape).T.tobytes())


def _digests_of_graph(graph: Path) -> Iterator[str]:
    with ExitStack() as stack:
        maps: dict[Path, mmap.mmap] = {}
        for tensor in graph_tensors(graph):
            if tensor.data_type != _ONNX_FLOAT:
                continue
            path, start, size = _place(tensor, graph)
            if path not in maps:
                file = stack.enter_context(path.open("rb"))
                maps[path] = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            yield sha256_from_bytes(maps[path][start : start + size])


def _place(tensor: GraphTensor, graph: Path) -> tuple[Path, int, int]:
    """Return the file that holds a tensor's data, and where in it they begin and how long they are."""
    if not tensor.outside:
        return graph, tensor.start, tensor.size_bytes
    said = dict(tensor.external)
    path = graph.parent / said["location"]
    start = int(said.get("offset", "0"))
    return path, start, int(said.get("length", path.stat().st_size - start))
