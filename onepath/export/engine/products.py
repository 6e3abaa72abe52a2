"""The matrix products and convolutions of a graph, and which of them the graph itself has in a precision."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from onepath.contract.graphs import Precision

_FLOATS: dict[ir.DataType, Precision] = {
    ir.DataType.FLOAT: "fp32",
    ir.DataType.FLOAT16: "fp16",
    ir.DataType.BFLOAT16: "bf16",
}
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul"})
_INTEGER_PRODUCTS = frozenset({"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"})


def product_share(model: ir.Model, precision: Precision) -> float:
    """Return the share of a graph's products that are in a precision; 1 for a graph without any.

    Args:
        model: left as it is.
        precision: of the numbers that are multiplied.
    """
    typed = model.clone()
    ShapeInferencePass()(typed)
    found = [kind for kind in map(_precision, typed.graph) if kind is not None]
    return found.count(precision) / len(found) if found else 1.0


def _precision(node: ir.Node) -> Precision | None:
    """Return what a node multiplies; None for one that is no product, or of a type that has no name here."""
    if node.op_type in _INTEGER_PRODUCTS:
        return "int8"
    if node.op_type not in _PRODUCTS or node.inputs[0] is None:
        return None
    producers = [value.producer() for value in node.inputs[:2] if value is not None]
    if producers and all(producer is not None and producer.op_type == "DequantizeLinear" for producer in producers):
        return "int8"
    return None if node.inputs[0].dtype is None else _FLOATS.get(node.inputs[0].dtype)
