"""What a finished engine's matrix products and convolutions are computed in, by the JSON of TensorRT's inspector.

The JSON is described in https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/engine-tools.html; 11
writes the type of a tensor under another key than 10 does.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onepath.contract.errors import OnepathError, UnsupportedModuleError
from onepath.contract.graphs import Precision
from onepath.export.engine.products import UNKNOWN

Json = Any  # parsed, of a form that this module checks

LEAST_SHARE = 0.9
"""The least share of products in the asked precision, of the share that the graph has itself."""

_TYPE_KEYS = ("Format/Datatype", "Format/DataType", "DataType", "Datatype")
_TYPES: tuple[tuple[str, str], ...] = (
    ("int8", r"(?<!u)int8"),
    ("bf16", r"bf16|bfloat16"),
    ("fp16", r"fp16|half|float16"),
    ("fp32", r"fp32|float"),
)
"""Precision to how its type is written, the narrowest first: `Half`, or `Row major linear FP16 format`."""
_PRODUCT_LAYER = re.compile(r"gemm|matrix_?multiply|matmul|conv|fully_?connected", re.IGNORECASE)
_PRODUCT_KERNEL = re.compile(r"gemm|xmma|cutlass|mha|fprop|dgrad|matmul|(?-i:__myl_([A-Z][a-z]+)*Fc)", re.IGNORECASE)
_BOOKKEEPING = re.compile(r"reformat|shuffle|noop|constant|signal|wait|shape", re.IGNORECASE)
_SHOWN = 5


@dataclass(frozen=True)
class Layer:
    """A layer of an engine.

    Attributes:
        name: the library's.
        kind: its type, such as `gemm`.
        precision: what it multiplies; `unknown` where the inspector does not tell.
        is_product: whether it is a matrix product, a convolution, or has one in it.
    """

    name: str
    kind: str
    precision: str
    is_product: bool


@dataclass(frozen=True)
class Audit:
    """The precisions of an engine's matrix products and convolutions.

    Attributes:
        counts: precision to how many there are, the most frequent first.
        share: of those in the asked precision.
        least: what the share had to be.
        in_graph: how many products the graph has, of which several may be one in the engine.
    """

    counts: Mapping[str, int]
    share: float
    least: float
    in_graph: int


class EngineAuditError(OnepathError):
    """An engine that does not compute in the precision that was asked for; `counts` says in which it does."""

    counts: Mapping[str, int]
    offenders: tuple[str, ...]

    def __init__(self, precision: str, audit: Audit, offenders: Sequence[Layer]) -> None:
        found = _in_words(audit.counts) or "none at all"
        first = "".join(f"\n  {layer.name} ({layer.kind}): {layer.precision}" for layer in offenders[:_SHOWN])
        super().__init__(
            f"the engine was asked for in {precision}, and of its matrix products and convolutions there are {found}; "
            f"at least {audit.least:.0%} must be in {precision}. It was not put into the bundle; build it with another "
            f"version of TensorRT, or look at the types in the graph{first}",
            counts=dict(audit.counts),
            offenders=tuple(layer.name for layer in offenders),
        )


class UnreadableEngineError(OnepathError):
    """An engine of which the inspector does not tell in what its layers compute, so that nothing is known of it."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"cannot tell in what precision the engine computes: {problem}. It was not put into the bundle; "
            "build it with another version of TensorRT"
        )


def audit_parts(
    layers: Mapping[str, Sequence[Layer]], graphs: Mapping[str, Counter[str]], precision: Precision
) -> Audit:
    """Return in which precisions an engine's products are, after checking each part of it and all of them together.

    Args:
        layers: part to its layers.
        graphs: part to the products of the graph that it was made of, by precision.
        precision: that was asked for.

    Raises:
        EngineAuditError: too few products are in the precision, in a part or in all, or there are none to look at.
        UnsupportedModuleError: the graph itself has none in this precision.
    """
    for part, products in graphs.items():
        if products[precision] or products[UNKNOWN]:  # else the graph has this part in another precision
            audit_layers(layers[part], precision, graph=products)
    every = [layer for part in graphs for layer in layers[part]]
    return audit_layers(every, precision, graph=sum(graphs.values(), Counter[str]()))


def audit_layers(layers: Iterable[Layer], precision: Precision, *, graph: Counter[str]) -> Audit:
    """Return in which precisions the products of some layers are, after checking that enough are in the asked one.

    Args:
        layers: of an engine.
        precision: that was asked for.
        graph: the products of the graph that it was made of; one of unknown type counts as if it were in the precision.

    Raises:
        EngineAuditError: too few are, or there are no products to look at.
        UnsupportedModuleError: the graph itself has none in this precision, so that any engine would pass.
    """
    if graph and not graph[precision] + graph[UNKNOWN]:
        problem = f"it is said to be in {precision}, and its products are {_in_words(graph)}"
        raise UnsupportedModuleError("the graph for an engine", problem, "build the bundle again")
    products = [layer for layer in layers if layer.is_product]
    counts = Counter(layer.precision for layer in products)
    share = counts[precision] / len(products) if products else 0.0
    wanted = (graph[precision] + graph[UNKNOWN]) / graph.total() if graph else 1.0
    audit = Audit(dict(counts.most_common()), share, LEAST_SHARE * wanted, graph.total())
    if not products or share < audit.least:
        raise EngineAuditError(precision, audit, [layer for layer in products if layer.precision != precision])
    return audit


def layers_from_json(text: str) -> list[Layer]:
    """Return the layers that the engine inspector lists.

    Raises:
        UnreadableEngineError: it is no such JSON, or names layers without their types, as it does of an engine that was
            not built with detailed profiling.
    """
    try:
        said = json.loads(text)
    except ValueError as error:
        raise UnreadableEngineError(f"what its inspector says is not JSON ({error})") from error
    layers = said.get("Layers") if isinstance(said, dict) else None
    if not isinstance(layers, list) or not layers or not all(isinstance(layer, dict) for layer in layers):
        raise UnreadableEngineError("its inspector names no layers with types, as without detailed profiling verbosity")
    return [_layer(layer) for layer in layers]


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} in {name}" for name, count in counts.items())


def _layer(layer: Json) -> Layer:
    name, kind = str(layer.get("Name", "")), str(layer.get("LayerType", ""))
    kernel = " ".join(str(layer.get(key, "")) for key in ("Name", "TacticName"))
    is_product = _BOOKKEEPING.search(kind) is None and bool(
        _PRODUCT_LAYER.search(kind) or _PRODUCT_KERNEL.search(kernel)
    )
    return Layer(name, kind, _precision(layer), is_product)


def _precision(layer: Json) -> str:
    """Return what a layer multiplies: the type of its weights, or else the narrowest of its inputs.

    A further input of a product may be wider, such as what is added to it afterwards.
    """
    weights = layer.get("Weights")
    stated = [str(weights.get("Type", ""))] if isinstance(weights, dict) else []
    inputs = [_type(tensor) for tensor in layer.get("Inputs", []) if isinstance(tensor, dict)]
    for words in (stated, inputs):
        for precision, pattern in _TYPES:
            if any(re.search(pattern, word, re.IGNORECASE) for word in words):
                return precision
    return UNKNOWN


def _type(tensor: Json) -> str:
    return next((str(tensor[key]) for key in _TYPE_KEYS if key in tensor), "")
