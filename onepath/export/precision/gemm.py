"""`Gemm` written as `MatMul` and `Add`: ONNX has an integer form of the one and not of the other."""

from __future__ import annotations

import onnx
from onnx import helper, numpy_helper

from onepath.export.precision.nodes import drop_unread, is_operator


def matmul_from_gemm(model: onnx.ModelProto) -> None:
    """Write each plain `Gemm` of a constant weight as `MatMul`, of the same name, and `Add`, in place.

    One that scales, or transposes its activation, stays. A transposed weight becomes a new one, so that other nodes
    that read it keep theirs; weights that nothing reads any more are left out.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes += _written_out(node, graph, weights) if is_operator(node, {"Gemm"}) else [node]
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unread(graph)


def _written_out(
    node: onnx.NodeProto, graph: onnx.GraphProto, weights: dict[str, onnx.TensorProto]
) -> list[onnx.NodeProto]:
    settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    is_plain = settings.get("alpha", 1.0) == settings.get("beta", 1.0) == 1.0 and not settings.get("transA", 0)
    if not is_plain or node.input[1] not in weights:
        return [node]
    weight = node.input[1]
    if settings.get("transB", 0):
        weight = f"{node.input[1]}__transposed"
        if weight not in weights:
            array = numpy_helper.to_array(weights[node.input[1]])
            weights[weight] = numpy_helper.from_array(array.T.copy(), weight)
            graph.initializer.append(weights[weight])
    if len(node.input) < 3 or not node.input[2]:
        return [helper.make_node("MatMul", [node.input[0], weight], node.output, node.name)]
    product = f"{node.output[0]}__product"
    return [
        helper.make_node("MatMul", [node.input[0], weight], [product], node.name),
        helper.make_node("Add", [product, node.input[2]], node.output, f"{node.name}__bias"),
    ]
