"""The element type of every tensor of a graph, inferred without a look at its weights."""

from __future__ import annotations

import onnx
from onnx import helper, shape_inference

_SMALL = 64
"""Constants of at most so many numbers stay in the graph that is looked at: some are shapes."""


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """Return each tensor's element type, by ONNX's number; those of operators that ONNX does not know are not here.

    Weights count as inputs of their type, so that a graph of any size passes through shape inference, which takes no
    message over 2 GB.
    """
    graph = onnx.GraphProto(name="types")
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    for tensor in model.graph.initializer:
        if sum(tensor.dims) <= _SMALL and len(tensor.dims) <= 1:
            graph.initializer.append(tensor)
        else:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    light = helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version, functions=model.functions
    )
    inferred = shape_inference.infer_shapes(light).graph
    found = (*inferred.value_info, *inferred.input, *inferred.output)
    types = {tensor.name: tensor.type.tensor_type.elem_type for tensor in found}
    types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return {name: kind for name, kind in types.items() if kind != onnx.TensorProto.UNDEFINED}
