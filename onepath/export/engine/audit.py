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

from onepath.contract.errors import OnepathError
from onepath.contract.graphs import Precision

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
_PRODUCT_KERNEL = re.compile(r"gemm|xmma|cutlass|mha|fprop|dgrad|matmul", re.IGNORECASE)
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
    """

    counts: Mapping[str, int]
    share: float
    least: float


class EngineAuditError(OnepathError):
    """An engine that does not compute in the precision that was asked for; `counts` says in which it does."""

    counts: Mapping[str, int]
    offenders: tuple[str, ...]

    def __init__(self, precision: str, audit: Audit, offenders: Sequence[Layer]) -> None:
        found = ", ".join(f"{count} in {name}" for name, count in audit.counts.items()) or "none at all"
        first = "".join(f"\n  {layer.name} ({layer.kind}): {layer.precision}" for layer in offenders[:_SHOWN])
        super().__init__(
            f"the engine was asked for in {precision}, and of its matrix products and convolutions there are {found}; "
            f"at least {audit.least:.0%} must be in {precision}. It was not put into the bundle; build it with another "
            f"version of TensorRT, or look at the types in the graph{first}",
            counts=dict(audit.counts),
            offenders=tuple(layer.name for layer in offenders),
        )


def audit_layers(layers: Iterable[Layer], precision: Precision, *, graph_share: float) -> Audit:
    """Return in which precisions an engine's products are, after checking that enough are in the asked one.

    Args:
        layers: of all its parts.
        precision: that was asked for.
        graph_share: the share of the graph's own products that are in it.

    Raises:
        EngineAuditError: too few are, or there are no products to look at.
    """
    products = [layer for layer in layers if layer.is_product]
    counts = Counter(layer.precision for layer in products)
    share = counts[precision] / len(products) if products else 0.0
    audit = Audit(dict(counts.most_common()), share, LEAST_SHARE * graph_share)
    if not products or share < audit.least:
        raise EngineAuditError(precision, audit, [layer for layer in products if layer.precision != precision])
    return audit


def layers_from_json(text: str) -> list[Layer]:
    """Return the layers that the engine inspector lists.

    Raises:
        ValueError: it is no such JSON, or names layers without their types, as it does of an engine that was not built
            with detailed profiling.
    """
    layers = json.loads(text).get("Layers", [])
    if not layers or not all(isinstance(layer, dict) for layer in layers):
        raise ValueError("the engine inspector tells no types; build the engine with detailed profiling verbosity")
    return [_layer(layer) for layer in layers]


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
    return "unknown"


def _type(tensor: Json) -> str:
    return next((str(tensor[key]) for key in _TYPE_KEYS if key in tensor), "")
