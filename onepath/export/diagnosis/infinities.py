"""Where infinite constants of a graph go, and which of them meet an operator that can make NaN of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onepath.export.graphs.parts import nodes_of, subgraphs_of, tensors_of, weights_of

_MOVING = """
    Cast CastLike Clip Concat DepthToSpace Expand Flatten Gather GatherElements GatherND Identity Max MaxPool Min Neg
    Pad ReduceMax ReduceMin Reshape ScatterElements ScatterND Slice SpaceToDepth Split Squeeze Tile Transpose Trilu
    Unsqueeze Where
"""
_ENDING = "ArgMax ArgMin Equal Greater GreaterOrEqual HardSigmoid Less LessOrEqual Shape Sigmoid Size Tanh"

_MOVES = frozenset(_MOVING.split())
"""Operators that pass an infinity on, or choose between it and something else."""

_MOVES_NEGATIVE = _MOVES | {"Add", "LogSoftmax"}
"""Operators that pass −inf on; +inf could meet −inf in an addition."""

_ENDS = frozenset(_ENDING.split())
"""Operators that make something finite of either infinity."""

_ENDS_NEGATIVE = _ENDS | {"Exp", "Relu", "Softmax", "Softplus"}
"""Operators that make something finite of −inf."""


@dataclass(frozen=True)
class Meeting:
    """An operator that can make NaN of an infinite constant.

    Attributes:
        node: the operator.
        constant: the constant's name.
    """

    node: ir.Node
    constant: str


def infinities_that_meet(model: ir.Model) -> list[Meeting]:
    """Return the operators that infinite constants of a graph reach and that can make NaN of them, each once."""
    owners = {id(graph): node for node in nodes_of(model) for graph in subgraphs_of(node)}
    found: dict[int, Meeting] = {}
    for constant, sign in _infinite_constants(model):
        for node in _meetings(constant, sign, owners):
            found.setdefault(id(node), Meeting(node, constant.name or ""))
    return list(found.values())


def _infinite_constants(model: ir.Model) -> Iterator[tuple[ir.Value, int]]:
    """Yield the weights and constants that hold an infinity, with its sign."""
    for value in weights_of(model):
        yield from ((value, sign) for sign in _signs(value.const_value))
    for node in nodes_of(model):
        if node.op_type in ("Constant", "ConstantOfShape"):
            yield from ((node.outputs[0], sign) for tensor in tensors_of(node) for sign in _signs(tensor))


def _signs(tensor: ir.TensorProtocol | None) -> list[int]:
    if tensor is None or not tensor.dtype.is_floating_point():
        return []
    array = tensor.numpy()
    if not np.isinf(array).any():
        return []
    return [sign for sign in (-1, 1) if (array == sign * np.inf).any()]


def _meetings(constant: ir.Value, sign: int, owners: Mapping[int, ir.Node]) -> Iterator[ir.Node]:
    waiting, seen = [(constant, sign)], set()
    while waiting:
        value, sign = waiting.pop()
        if (id(value), sign) in seen:
            continue
        seen.add((id(value), sign))
        for node, index in value.uses():
            if node.op_type == "Clip" and index > 0:
                continue  # a bound that bounds nothing
            if node.op_type in (_MOVES_NEGATIVE if sign < 0 else _MOVES):
                turned = -sign if node.op_type == "Neg" else sign
                waiting += [(output, turned) for output in node.outputs]
            elif node.op_type not in (_ENDS_NEGATIVE if sign < 0 else _ENDS):
                yield node
        if value.is_graph_output() and id(value.graph) in owners:  # an `If` or `Loop` hands it out
            waiting += [(output, sign) for output in owners[id(value.graph)].outputs]
