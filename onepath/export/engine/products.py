"""The matrix products and convolutions of a graph, and which of them the graph itself has in a precision."""

from __future__ import annotations

from collections import Counter

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


UNKNOWN = "unknown"
"""What a product is in whose type cannot be told."""


def products_of(model: ir.Model) -> Counter[str]:
    """Return how many of a graph's products are in each precision, that of the numbers that are multiplied.

    Args:
        model: left as it is.
    """
    typed = model.clone()
    ShapeInferencePass()(typed)
    return Counter(kind for kind in map(_precision, typed.graph) if kind is not None)


def _precision(node: ir.Node) -> str | None:
    """Return what a node multiplies; None for one that is no product."""
    if node.op_type in _INTEGER_PRODUCTS:
        return "int8"
    if node.op_type not in _PRODUCTS or node.inputs[0] is None:
        return None
    producers = [value.producer() for value in node.inputs[:2] if value is not None]
    if producers and all(producer is not None and producer.op_type == "DequantizeLinear" for producer in producers):
        return "int8"
    return UNKNOWN if node.inputs[0].dtype is None else _FLOATS.get(node.inputs[0].dtype, UNKNOWN)
