"""int8 graphs by ONNX Runtime's own quantisation: signed weights, one scale for each output channel."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from onepath.export.graphs.onnx_file import OnnxFile, onnx_file_from_model
from onepath.export.precision.gemm import matmul_from_gemm
from onepath.export.precision.nodes import name_nodes
from onepath.export.proofs import Batch
from onepath.export.recipe.precision import Machine
from onepath.export.rows import feeds_from_batch

DYNAMIC_PRODUCTS = ("Gemm", "MatMul")
"""What dynamic quantisation takes: ONNX Runtime gives a convolution's weight one scale for all of its channels."""
STATIC_PRODUCTS = ("Conv", "Gemm", "MatMul")
_WARNINGS, _ERRORS = 2, 3  # of ONNX Runtime, which starts with the first


def dynamic_int8(graph: OnnxFile, nodes: Iterable[str], path: Path) -> OnnxFile:
    """Return a graph whose products take the range of their activations from each batch as it runs.

    The products in ONNX are `DynamicQuantizeLinear` and `MatMulInteger`, of uint8 activations and int8 weights. Every
    plain `Gemm` becomes `MatMul` and `Add`, in float32 too: ONNX Runtime's quantisation would write it so itself.

    Args:
        graph: whose nodes have names; it is not changed.
        nodes: names of weighted products of `DYNAMIC_PRODUCTS`.
        path: the new graph's file, in a folder for work of its own.
    """
    prepared = _prepared(graph, path, without_gemm=True)
    with _quiet():
        quantize_dynamic(
            prepared,
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=sorted(nodes),
            use_external_data_format=True,
        )
    return _finished(path, prepared)


def static_int8(
    graph: OnnxFile, nodes: Iterable[str], path: Path, *, rows: Iterable[Batch], machine: Machine
) -> OnnxFile:
    """Return a graph whose products have `QuantizeLinear` and `DequantizeLinear` around them, with ranges of some rows.

    On a CPU activations are uint8, and on a GPU int8 about zero, as TensorRT takes them, with biases left in float32.
    What a matrix product gives stays in float32; a convolution's result is quantised too, without which no engine runs
    it in int8.

    Args:
        graph: whose nodes have names; it is not changed.
        nodes: names of weighted products of `STATIC_PRODUCTS`.
        path: the new graph's file, in a folder for work of its own.
        rows: batches to take the ranges from, in each of which every product gets a row.
        machine: what the graph is for.
    """
    prepared = _prepared(graph, path, without_gemm=False)
    on_cpu = machine == "cpu"
    with _quiet():
        quantize_static(
            prepared,
            path,
            _Rows(rows),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(STATIC_PRODUCTS),
            per_channel=True,
            activation_type=QuantType.QUInt8 if on_cpu else QuantType.QInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=sorted(nodes),
            use_external_data_format=True,
            extra_options={
                "ActivationSymmetric": not on_cpu,
                "OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"],
                "QuantizeBias": on_cpu,
            },
        )
    return _finished(path, prepared)


class _Rows(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, batches: Iterable[Batch]) -> None:
        self._feeds = map(feeds_from_batch, batches)

    def get_next(self) -> Mapping[str, NDArray[np.generic]] | None:
        return next(self._feeds, None)


def _prepared(graph: OnnxFile, path: Path, *, without_gemm: bool) -> Path:
    """Return a copy for ONNX Runtime to work on, which writes files of its own beside it.

    What the exporter said of shapes is left out: where it is out of date, the quantisation fails on it.
    """
    model = graph.model()
    name_nodes(model)
    if without_gemm:
        matmul_from_gemm(model)
    del model.graph.value_info[:]
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})  # no advice to prepare it
    return onnx_file_from_model(model, path.with_name(f"prepared-{path.name}")).path


def _finished(path: Path, prepared: Path) -> OnnxFile:
    """Return the quantised graph as onepath writes graphs; ONNX Runtime's files are removed."""
    original = onnx.load(prepared, load_external_data=False)
    model = onnx.load(path)
    for file in (path, prepared):
        file.unlink()
        file.with_name(f"{file.name}.data").unlink(missing_ok=True)
    model.ir_version, model.producer_name, model.producer_version = original.ir_version, original.producer_name, ""
    del model.metadata_props[:], model.graph.value_info[:]
    used = {entry.domain for entry in original.opset_import} | {node.domain for node in model.graph.node}
    imports = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    onnx_file = onnx_file_from_model(model, path)
    onnx.checker.check_model(path)
    return onnx_file


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what ONNX Runtime's quantisation logs, and the handler that its first line would give the root."""
    root = logging.getLogger()
    handlers, disabled = [*root.handlers], root.manager.disable
    logging.disable(logging.WARNING)
    ort.set_default_logger_severity(_ERRORS)  # of the session that calibrates, which takes no options
    try:
        yield
    finally:
        ort.set_default_logger_severity(_WARNINGS)
        logging.disable(disabled)
        for handler in [handler for handler in root.handlers if handler not in handlers]:
            root.removeHandler(handler)
