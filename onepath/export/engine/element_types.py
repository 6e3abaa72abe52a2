"""The same graph with inputs and outputs of element types that an engine takes, and no arithmetic in others.

TensorRT has no 16-bit integers, takes unsigned bytes only as inputs and outputs, and turns these into floats alone:
https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/infer/FoundationalTypes/DataType.html
Every value of such a type is kept exactly: it is a 32-bit integer inside, and where it is not a byte, at the door too
(`onepath.contract.engines.engine_dtype`).
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onepath.contract.errors import UnsupportedModuleError

_BYTE, _WIDE, _FLOAT = ir.DataType.UINT8, ir.DataType.INT32, ir.DataType.FLOAT
_NARROW = frozenset({_BYTE, ir.DataType.INT8, ir.DataType.INT16})
_MOVING = frozenset(
    {
        "Concat",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
_COMPARING = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})
_ASKING = frozenset({"Cast", "Shape", "Size"})
"""Operators of which the result does not have the type of what they are given."""


def engine_model(model: ir.Model) -> ir.Model:
    """Return the graph with the element types of an engine; the given one is left as it is.

    Args:
        model: a graph whose inputs and outputs have types; those of its intermediate values are not needed.

    Raises:
        UnsupportedModuleError: a narrow integer is computed with, rather than moved, compared and cast, or is given out
            without having been cast to.
    """
    made = model.clone()
    wide = {_widened(made.graph, value) for value in list(made.graph.inputs) if value.dtype in _NARROW}
    for node in list(made.graph):
        if any(value in wide for value in node.inputs) and node.op_type not in _ASKING:
            wide |= _carried(made.graph, node, wide)
    for output in made.graph.outputs:
        if output in wide or output.dtype in _NARROW:
            _cast_from_float(made.graph, output, is_wide=output in wide)
    RemoveUnusedNodesPass()(made)
    made.graph.sort()
    return made


def _widened(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """Return a graph's input as 32-bit integers, by which it is replaced wherever it is used."""
    if value.dtype != _BYTE:
        value.dtype = _WIDE
        return value
    users = [(usage.node, usage.idx) for usage in value.uses()]
    wide = _cast(graph, _cast(graph, value, _FLOAT), _WIDE)
    for node, place in users:
        node.replace_input_with(place, wide)
    return wide


def _carried(graph: ir.Graph, node: ir.Node, wide: set[ir.Value]) -> set[ir.Value]:
    """Make a node take wide values in the place of narrow ones, and return its results that are wide then."""
    if node.op_type not in _MOVING | _COMPARING:
        raise UnsupportedModuleError(
            f"the node {node.name} in an engine",
            f"{node.op_type} computes with integers of 8 or 16 bits, which TensorRT does not",
            "cast the modality's values to float first in the encoder",
        )
    for place, value in enumerate(node.inputs):
        constant = None if value is None or value in wide else ir.convenience.get_const_tensor(value)
        if value is not None and constant is not None and constant.dtype in _NARROW:
            node.replace_input_with(place, _wide_constant(graph, f"{value.name}.wide", constant))
    if node.op_type in _COMPARING or (node.inputs[0] not in wide and node.op_type == "Gather"):
        return set()
    for output in node.outputs:
        if output.type is not None:
            output.dtype = _WIDE
    return {*node.outputs}


def _wide_constant(graph: ir.Graph, name: str, narrow: ir.TensorProtocol) -> ir.Value:
    if name not in graph.initializers:
        tensor = ir.tensor(narrow.numpy().astype("int32"), name=name)
        shape = ir.Shape(tensor.numpy().shape)
        graph.register_initializer(ir.Value(name=name, const_value=tensor, type=ir.TensorType(_WIDE), shape=shape))
    return graph.initializers[name]


def _cast_from_float(graph: ir.Graph, output: ir.Value, *, is_wide: bool) -> None:
    """Make bytes that a graph gives out, and that are cast from something else last, be cast from floats."""
    node = output.producer()
    source = None if node is None or node.op_type != "Cast" else node.inputs[0]
    if node is None or source is None or is_wide or output.dtype != _BYTE:
        problem = "it is an integer of 8 or 16 bits that is not cast to bytes last"
        raise UnsupportedModuleError(
            f"the output {output.name} in an engine", problem, "serve this bundle's ONNX graph"
        )
    node.replace_input_with(0, _cast(graph, source, _FLOAT))


def _cast(graph: ir.Graph, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    node = ir.node("Cast", [value], {"to": dtype})
    graph.append(node)
    output: ir.Value = node.outputs[0]
    output.name, output.dtype = f"{value.name}.{dtype.name.lower()}", dtype
    return output
