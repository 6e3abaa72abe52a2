"""ONNX from a presence graph, through torch's dynamo exporter, with a symbolic number of rows."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.contract.tensors import PRESENCE, ROW_STATUS, TensorSpec, state_name
from onepath.export.diagnosis import check_file, check_graph_is_clean, origins_of, refusal_from_failure
from onepath.export.graphs.dispatch import PresenceGraph
from onepath.export.graphs.masked_attention import without_nan_guards
from onepath.export.graphs.onnx_file import EXTERNAL_OVER_BYTES, OnnxFile, cleaned, onnx_file_from_model

ROWS = "rows"
"""The name of the symbolic first dimension of every input and output."""

_EXAMPLE_ROWS = 3
_TALKATIVE = (
    *("torch._dynamo", "torch._export", "torch._subclasses", "torch.export", "torch.fx", "torch.onnx"),
    *("onnx_ir", "onnxscript"),
)


class _Positional(nn.Module):
    """Gives the graph flat, ordered inputs and outputs, which the exporter can name."""

    def __init__(self, graph: PresenceGraph) -> None:
        super().__init__()
        self.body = graph  # fx keeps `graph` for itself

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        names = self.body.modalities
        values = dict(zip(names, tensors[: len(names)], strict=True))
        states = dict(zip(names, tensors[len(names) :], strict=True))
        return tuple(self.body(values, states).values())


def example_inputs(specs: Sequence[TensorSpec], rows: int) -> tuple[Tensor, ...]:
    """Return zeros for every modality's values, then states with every row present."""
    values = [torch.zeros(rows, *spec.shape, dtype=getattr(torch, spec.dtype)) for spec in specs]
    states = [torch.ones(rows, 1, dtype=torch.uint8) for _ in specs]
    return (*values, *states)


def onnx_file_from_graph(
    graph: PresenceGraph,
    specs: Sequence[TensorSpec],
    *,
    outputs: Sequence[str],
    opset: int,
    ir_version: int,
    path: Path,
    external_over_bytes: int = EXTERNAL_OVER_BYTES,
) -> OnnxFile:
    """Return the ONNX model of a presence graph, written to a file; the same model gives the same bytes.

    Args:
        graph: in eval mode, at the precision to export.
        specs: the values' tensors of one row, in the order of the graph's modalities.
        outputs: names of the task's outputs.
        opset: ONNX operator set version.
        ir_version: ONNX file format version.
        path: the file, `*.onnx`; its folder is there.
        external_over_bytes: if the weights have more bytes than this, they go to a file of their own, beside it.

    Raises:
        UnsupportedModuleError: torch cannot export the model, which line of it and why; or the graph holds what engines
            treat differently (a Fourier transform, complex numbers, something that depends on NaN), or an operator of
            a type of elements that ONNX has it not for.
    """
    model = _exported(graph, specs, outputs, opset).model
    without_nan_guards(model)
    check_graph_is_clean(model)  # while its nodes still say which line they come from
    origins = origins_of(model)
    model.ir_version = ir_version
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.shape = ir.Shape([ROWS, *tuple(value.shape or ())[1:]])
    file = onnx_file_from_model(cleaned(model), path, external_over_bytes=external_over_bytes)
    check_file(file.path, origins)
    return file


def _exported(
    graph: PresenceGraph, specs: Sequence[TensorSpec], outputs: Sequence[str], opset: int
) -> Any:  # torch's ONNXProgram, which has no public name
    inputs = [spec.name for spec in specs] + [state_name(spec.name) for spec in specs]
    rows = torch.export.Dim.DYNAMIC
    with _quiet_exporter():
        try:
            program = torch.onnx.export(
                _Positional(graph).eval(),
                example_inputs(specs, _EXAMPLE_ROWS),
                dynamo=True,
                opset_version=opset,
                input_names=inputs,
                output_names=[*outputs, PRESENCE, ROW_STATUS],
                dynamic_shapes=(tuple({0: rows} for _ in inputs),),
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise refusal_from_failure(error, graph) from error
    if program is None:
        raise UnsupportedModuleError("the model for ONNX", "torch returned no program", "install the pinned torch")
    return program


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep back what the exporter says of packages that it could use, and the graphs that it prints when it fails."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
