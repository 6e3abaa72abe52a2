"""Which nodes compute in 16 bits: products, and what lies between them; everything else stays in float32."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import onnx
from onnx import TensorProto, defs

from onepath.contract.graphs import Precision
from onepath.export.precision.nodes import PRODUCTS, captured_by, heads, is_operator

ELEMENT_TYPES: Mapping[Precision, int] = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
"""Of the precisions that have 16 bits, ONNX's number of their element type."""
_TYPE_NAMES = {TensorProto.FLOAT16: "tensor(float16)", TensorProto.BFLOAT16: "tensor(bfloat16)"}

MOVEMENTS = frozenset(
    {"Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose"}
    | {"Unsqueeze"}
)
"""Operators that only move numbers."""
ELEMENT_WISE = frozenset(
    {"Abs", "Add", "Clip", "Div", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Max", "Min", "Mul"}
    | {"Neg", "PRelu", "Relu", "Selu", "Sigmoid", "Softsign", "Sub", "Swish", "Tanh", "Where"}
)
"""Operators on one number at a time that neither cancel nor overflow where their inputs do not: no power, root,
exponential or logarithm is among them."""


@dataclass(frozen=True)
class LowNodes:
    """What computes in 16 bits.

    Attributes:
        names: of the nodes.
        kept: products that were wanted in 16 bits and stay in float32, each with the reason.
    """

    names: frozenset[str]
    kept: Mapping[str, str]


def low_nodes(
    model: onnx.ModelProto,
    wanted: Iterable[str],
    precision: Precision,
    *,
    types: Mapping[str, int],
    without: Mapping[str, str],
) -> LowNodes:
    """Return which of the wanted nodes compute in 16 bits.

    A product does, unless it gives the logits. An element-wise or moving operator does where it lies between products:
    all that it reads comes from 16 bits or is constant, and what it gives leads to a product through nothing else. So
    a residual stream, whatever leads into a norm or a softmax, and the row dispatch stay in float32.

    Args:
        model: whose nodes have names.
        wanted: names of the nodes that may.
        precision: `fp16` or `bf16`.
        types: the element type of every tensor.
        without: nodes that must not, each with the reason.
    """
    search = _Search(model, frozenset(wanted), precision, types)
    products = [node.name for node in model.graph.node if is_operator(node, PRODUCTS) and node.name in search.wanted]
    reasons = dict.fromkeys(heads(model.graph), "it gives the logits") | search.unable(products) | {**without}
    kept = {name: reasons[name] for name in products if name in reasons}
    chosen = frozenset(products) - kept.keys()
    return LowNodes(chosen | search.between(chosen, frozenset(reasons)), kept)


@dataclass(frozen=True)
class _Search:
    model: onnx.ModelProto
    wanted: frozenset[str]
    precision: Precision
    types: Mapping[str, int]

    def unable(self, names: Collection[str]) -> dict[str, str]:
        """Return those of some nodes that cannot compute in this precision, each with the reason."""
        return {
            node.name: reason for node in self.model.graph.node if node.name in names if (reason := self._why(node))
        }

    def between(self, products: frozenset[str], without: frozenset[str]) -> frozenset[str]:
        """Return the element-wise and moving nodes that lie between products."""
        behind = self._reached(products, without)
        return self._leading(behind, products)

    def _reached(self, products: frozenset[str], without: frozenset[str]) -> frozenset[str]:
        """Return the nodes that read nothing but what is constant or comes from products through such nodes."""
        free = {tensor.name for tensor in self.model.graph.initializer}
        low: set[str] = set()
        found: set[str] = set()
        for node in self.model.graph.node:
            floats = [name for name in node.input if name and self.types.get(name) == TensorProto.FLOAT]
            if node.name in products:
                low |= {*node.output}
            elif node.op_type == "Constant" or (is_operator(node, MOVEMENTS) and {*floats} <= free):
                free |= {*node.output}
            elif self._may_follow(node, without) and {*floats} <= free | low and {*floats} & low:
                low |= {*node.output}
                found.add(node.name)
        return frozenset(found)

    def _leading(self, candidates: frozenset[str], products: frozenset[str]) -> frozenset[str]:
        """Return the candidates from which a product is reached through candidates alone."""
        wanted: set[str] = set()  # tensors that a product reads, or a candidate that leads to one
        found: set[str] = set()
        for node in reversed(self.model.graph.node):
            if node.name in products or (node.name in candidates and {*node.output} & wanted):
                found |= {node.name} - products
                wanted |= {*node.input}
        return frozenset(found)

    def _may_follow(self, node: onnx.NodeProto, without: frozenset[str]) -> bool:
        return (
            is_operator(node, MOVEMENTS | ELEMENT_WISE)
            and node.name in self.wanted
            and node.name not in without
            and self._why(node) is None
        )

    def _why(self, node: onnx.NodeProto) -> str | None:
        """Return why a node cannot compute in this precision, or None."""
        unknown = [name for name in (*node.input, *node.output) if name and name not in self.types]
        if unknown:
            return f"the type of {unknown[0]} is not known"
        if {*node.output} & self._captured:
            return "a subgraph reads its result"
        version = next((entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx")), 1)
        schema = defs.get_schema(node.op_type, version)
        own = next(group for group in schema.type_constraints if group.type_param_str == schema.outputs[0].type_str)
        if _TYPE_NAMES[ELEMENT_TYPES[self.precision]] not in own.allowed_type_strs:
            return f"{node.op_type} of operator set {version} takes no {self.precision}"
        return None

    @cached_property
    def _captured(self) -> frozenset[str]:
        return frozenset(name for node in self.model.graph.node for name in captured_by(node))
