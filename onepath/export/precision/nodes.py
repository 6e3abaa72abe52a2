"""The nodes of a graph that multiply matrices: which they are, whose encoder they belong to, which give the logits."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import onnx

from onepath.contract.graphs import Precision

PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose"})
"""Operators that are matrix products or convolutions."""
_DEFAULT_DOMAINS = ("", "ai.onnx")


def is_operator(node: onnx.NodeProto, names: Collection[str]) -> bool:
    """Return whether a node is one of ONNX's own operators of these names."""
    return node.domain in _DEFAULT_DOMAINS and node.op_type in names


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a name of its own, in place; those that have one keep it."""
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}_unnamed"
        taken.add(node.name)


def inputs_of(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the tensors that a node reads, those that its subgraphs capture from outside among them."""
    yield from (name for name in node.input if name)
    yield from captured_by(node)


def captured_by(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the tensors that a node's subgraphs read from outside."""
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            own = {tensor.name for tensor in (*graph.input, *graph.initializer)}
            own |= {name for inner in graph.node for name in inner.output}
            read = [name for inner in graph.node for name in inputs_of(inner)]
            yield from (name for name in [*read, *(output.name for output in graph.output)] if name not in own)


def drop_unread(graph: onnx.GraphProto) -> None:
    """Leave out the weights that no node and no output reads, in place."""
    read = {name for node in graph.node for name in inputs_of(node)} | {output.name for output in graph.output}
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in read:
            del graph.initializer[index]


def owners(graph: onnx.GraphProto, modalities: Sequence[str]) -> dict[str, str]:
    """Return the nodes that belong to a modality's encoder: node to modality.

    A node belongs to a modality if it depends on that modality's values and on no other's. States do not count: they
    decide which rows an encoder runs on. What depends on several modalities is the fusion's, and not here.
    """
    read: dict[str, frozenset[str]] = {name: frozenset({name}) for name in modalities}
    found: dict[str, str] = {}
    for node in graph.node:
        behind = frozenset[str]().union(*(read.get(name, frozenset()) for name in inputs_of(node)))
        read |= dict.fromkeys(node.output, behind)
        if len(behind) == 1:
            (found[node.name],) = behind
    return found


def precision_of_nodes(
    graph: onnx.GraphProto, modalities: Sequence[str], *, default: Precision, overrides: Mapping[str, Precision]
) -> dict[str, Precision]:
    """Return the precision that is wanted of each node: its modality's, or the default.

    Args:
        graph: whose nodes have names.
        modalities: the graph's; each has an input of its name.
        default: of the fusion, and of encoders that are not in `overrides`.
        overrides: modality to precision.
    """
    owner = owners(graph, modalities)
    return {node.name: overrides.get(owner.get(node.name, ""), default) for node in graph.node}


def heads(graph: onnx.GraphProto) -> frozenset[str]:
    """Return the products from which an output is reached without another product: those that give the logits."""
    makers = {name: node for node in graph.node for name in node.output}
    waiting = [output.name for output in graph.output]
    seen: set[str] = set()
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        node = makers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if is_operator(node, PRODUCTS):
            found.add(node.name)
        else:
            waiting += inputs_of(node)
    return frozenset(found)


def weighted_products(graph: onnx.GraphProto, operators: Collection[str]) -> list[str]:
    """Return the products of a float32 activation with a constant float32 weight, in the graph's order.

    Args:
        graph: whose nodes have names.
        operators: those to find, of `PRODUCTS`.
    """
    weights = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    return [
        node.name
        for node in graph.node
        if is_operator(node, operators) and node.input[1] in weights and node.input[0] not in weights
    ]
