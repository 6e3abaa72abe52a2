"""The nodes, weights and constants of an ONNX graph, with those of its sub-graphs and functions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir


def nodes_of(model: ir.Model) -> Iterator[ir.Node]:
    """Yield every node of a graph, of its sub-graphs and of its functions."""
    yield from ir.traversal.RecursiveGraphIterator(model.graph)
    for function in model.functions.values():
        yield from ir.traversal.RecursiveGraphIterator(function)


def weights_of(model: ir.Model) -> Iterator[ir.Value]:
    """Yield every weight of a graph and of its sub-graphs; `const_value` may be on disk."""
    for graph in model.graphs():
        yield from graph.initializers.values()


def subgraphs_of(node: ir.Node) -> Iterator[ir.Graph]:
    """Yield the bodies of an `If`, `Loop` or `Scan`."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def tensors_of(node: ir.Node) -> Iterator[ir.TensorProtocol]:
    """Yield the attributes of a node that are tensors or floating-point numbers, as tensors."""
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.TENSOR:
            yield attribute.as_tensor()
        elif attribute.type == ir.AttributeType.TENSORS:
            yield from attribute.as_tensors()
        elif attribute.type == ir.AttributeType.FLOAT:
            yield ir.tensor(np.array(attribute.as_float(), np.float32))
        elif attribute.type == ir.AttributeType.FLOATS:
            yield ir.tensor(np.array(attribute.as_floats(), np.float32))
