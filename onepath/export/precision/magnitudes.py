"""How large activations get on held-out rows, and which products float16 would overflow."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onepath.export.graphs.onnx_file import OnnxFile, onnx_file_from_model
from onepath.export.precision.sessions import run_from_graph
from onepath.export.proofs import Batch

FLOAT16_LARGEST = 65504.0
MARGIN = 0.5
"""The share of float16's largest number that activations may reach on the rows that were looked at."""


def largest_magnitudes(
    graph: OnnxFile, tensors: Collection[str], rows: Iterable[Batch], path: Path
) -> dict[str, float]:
    """Return the largest absolute value of tensors over batches of rows; infinite where one is not a number.

    Args:
        graph: a float32 graph.
        tensors: names of float32 tensors; weights are looked at as they are, and names that it lacks are left out.
        rows: batches, in each of which every tensor has a row.
        path: a file for a copy of the graph that gives them out, which is removed again.
    """
    model = graph.model()
    made = {name for node in model.graph.node for name in node.output}
    found = {
        tensor.name: float(np.abs(numpy_helper.to_array(tensor)).max(initial=0.0))
        for tensor in model.graph.initializer
        if tensor.name in tensors
    }
    active = sorted({*tensors} & made)
    _give_out(model, active)
    copy = onnx_file_from_model(model, path)
    try:
        run = run_from_graph(path)
        for batch in rows:
            given = run(batch)
            found |= {name: max(found.get(name, 0.0), _size(given[_largest(name)])) for name in active}
    finally:
        for file in copy.paths:
            file.unlink()
    return found


def overflowing(model: onnx.ModelProto, names: Collection[str], magnitudes: Mapping[str, float]) -> dict[str, str]:
    """Return the nodes among some that read or give what float16 cannot hold, each with the reason."""
    found = {}
    for node in model.graph.node:
        if node.name in names:
            worst = max((name for name in (*node.input, *node.output)), key=lambda name: magnitudes.get(name, 0.0))
            if not magnitudes.get(worst, 0.0) <= MARGIN * FLOAT16_LARGEST:
                found[node.name] = f"{worst} reaches {magnitudes[worst]:.3g}, and float16 ends at {FLOAT16_LARGEST:g}"
    return found


def _give_out(model: onnx.ModelProto, tensors: Iterable[str]) -> None:
    for name in tensors:
        model.graph.node.append(helper.make_node("Abs", [name], [f"{name}__magnitude"]))
        model.graph.node.append(helper.make_node("ReduceMax", [f"{name}__magnitude"], [_largest(name)], keepdims=0))
        model.graph.output.append(helper.make_tensor_value_info(_largest(name), TensorProto.FLOAT, []))


def _size(largest: NDArray[np.generic]) -> float:
    return float(np.nan_to_num(largest.astype(np.float64), nan=np.inf, posinf=np.inf))


def _largest(name: str) -> str:
    return f"{name}__largest"
