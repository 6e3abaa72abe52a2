"""16 bits written into a graph: nodes that compute in float16 or bfloat16, and `Cast` on every edge that crosses."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import onnx
from ml_dtypes import bfloat16
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onepath.contract.graphs import Precision
from onepath.export.precision.element_types import element_types
from onepath.export.precision.low_nodes import ELEMENT_TYPES
from onepath.export.precision.nodes import captured_by, drop_unread, inputs_of

_NUMPY = {"fp16": np.dtype(np.float16), "bf16": np.dtype(bfloat16)}


def lower(model: onnx.ModelProto, names: Collection[str], precision: Precision) -> None:
    """Let nodes compute in 16 bits, in place.

    Their weights are stored so, tensors are cast once where they cross, and the graph's inputs and outputs keep their
    types.

    Args:
        model: whose nodes have names.
        names: of the nodes, as `low_nodes` finds them.
        precision: `fp16` or `bf16`.
    """
    nodes = [*_Lowering(model, frozenset(names), precision).nodes()]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    drop_unread(model.graph)


def emulate(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Let the nodes that compute in 16 bits do so with float32 arithmetic, in place.

    Each reads its 16-bit operands cast to float32, which is exact, and its result is rounded to 16 bits: what a GPU
    does that multiplies 16-bit numbers and adds them up in float32. Engines that lack the operators can run it.

    Args:
        model: as `lower` left it.
        names: of the nodes that it lowered.
    """
    types = element_types(model)
    low = {name for name, kind in types.items() if kind in ELEMENT_TYPES.values()}
    widened: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.name not in names:
            nodes.append(node)
            continue
        for name in dict.fromkeys(name for name in node.input if name in low and name not in widened):
            nodes.append(_cast(name, f"{name}__wide", TensorProto.FLOAT))
            widened.add(name)
        rounded = [_cast(f"{name}__raw", name, types[name]) for name in node.output if name in low]
        inputs = [f"{name}__wide" if name in low else name for name in node.input]
        outputs = [f"{name}__raw" if name in low else name for name in node.output]
        nodes += [_rewired(node, inputs, outputs), *rounded]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


class _Lowering:
    """One pass over a graph, with the tensors that it has cast so far."""

    def __init__(self, model: onnx.ModelProto, names: frozenset[str], precision: Precision) -> None:
        self._graph, self._names, self._precision = model.graph, names, precision
        self._kind = ELEMENT_TYPES[precision]
        self._types = element_types(model)
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._low: set[str] = set()  # tensors that exist in 16 bits
        self._wide = {name for node in model.graph.node if node.name not in names for name in inputs_of(node)}
        self._wide |= {output.name for output in model.graph.output}
        self._wide |= {name for node in model.graph.node for name in captured_by(node)}

    def nodes(self) -> Iterator[onnx.NodeProto]:
        """Yield the nodes of the new graph."""
        for node in self._graph.node:
            if node.name not in self._names:
                yield node
                continue
            for name in node.input:
                yield from self._crossing(name)
            outputs = [name for name in node.output if self._is_float(name)]
            self._low |= {*outputs}
            yield _rewired(node, [self._of(name) for name in node.input], [self._of(name) for name in node.output])
            yield from (_cast(self._of(name), name, TensorProto.FLOAT) for name in outputs if name in self._wide)

    def _crossing(self, name: str) -> Iterator[onnx.NodeProto]:
        """Yield the cast of a float32 tensor that has none yet; a weight is stored in 16 bits instead."""
        if not self._is_float(name) or name in self._low:
            return
        self._low.add(name)
        if name in self._weights:
            array = _rounded(numpy_helper.to_array(self._weights[name]), self._precision)
            self._graph.initializer.append(numpy_helper.from_array(array, self._of(name)))
        else:
            yield _cast(name, self._of(name), self._kind)

    def _is_float(self, name: str) -> bool:
        return bool(self._types.get(name) == TensorProto.FLOAT)

    def _of(self, name: str) -> str:
        return f"{name}__{self._precision}" if name in self._low else name


def _rounded(array: NDArray[np.float32], precision: Precision) -> NDArray[np.generic]:
    with np.errstate(over="ignore"):  # the scan of ranges says which weights are too large
        return array.astype(_NUMPY[precision])


def _cast(source: str, target: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], f"{target}__cast", to=kind)


def _rewired(node: onnx.NodeProto, inputs: list[str], outputs: list[str]) -> onnx.NodeProto:
    new = onnx.NodeProto()
    new.CopyFrom(node)
    del new.input[:], new.output[:]
    new.input.extend(inputs)
    new.output.extend(outputs)
    return new
