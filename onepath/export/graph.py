"""ONNX from a presence graph, through torch's dynamo exporter, with a symbolic number of rows."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import onnx
import torch
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.contract.tensors import PRESENCE, ROW_STATUS, TensorSpec, state_name
from onepath.export.dispatch import PresenceGraph

_REFUSED_OPERATORS = frozenset({"DFT", "STFT", "IsNaN"})


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


def onnx_from_graph(
    graph: PresenceGraph, specs: Sequence[TensorSpec], *, outputs: Sequence[str], opset: int, ir_version: int
) -> bytes:
    """Return the serialised ONNX model of a presence graph.

    Args:
        graph: in eval mode, at the precision to export.
        specs: the values' tensors of one row, in the order of the graph's modalities.
        outputs: names of the task's outputs.
        opset: ONNX operator set version.
        ir_version: ONNX file format version.

    Raises:
        UnsupportedModuleError: torch cannot export the model, or the graph needs an operator that serving refuses.
    """
    inputs = [spec.name for spec in specs] + [state_name(spec.name) for spec in specs]
    rows = torch.export.Dim.DYNAMIC
    with _quiet_exporter():
        try:
            program = torch.onnx.export(
                _Positional(graph).eval(),
                example_inputs(specs, rows=3),
                dynamo=True,
                opset_version=opset,
                input_names=inputs,
                output_names=[*outputs, PRESENCE, ROW_STATUS],
                dynamic_shapes=(tuple({0: rows} for _ in inputs),),
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise UnsupportedModuleError(
                "the model for ONNX", _first_cause(error), "change the line that it names to an operation of ONNX"
            ) from error
    if program is None:
        raise UnsupportedModuleError("the model for ONNX", "torch returned no program", "install the pinned torch")
    return _cleaned(program.model_proto, ir_version)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep back what the exporter says of packages that it could also use, such as torchvision."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)


def _cleaned(model: onnx.ModelProto, ir_version: int) -> bytes:
    """Return the model without paths and stack traces of the machine that built it, and checked."""
    model.ir_version = ir_version
    model.producer_name, model.doc_string = "onepath", ""
    del model.metadata_props[:]
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    del graph.value_info[:]
    for tensor in (*graph.input, *graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "rows"
    refused = sorted({node.op_type for node in graph.node} & _REFUSED_OPERATORS)
    if refused:
        raise UnsupportedModuleError(
            "the model for ONNX",
            f"its graph has {', '.join(refused)}, which engines treat differently or not at all",
            "write a fixed-length DFT as matrix products, and mark absence by presence rather than NaN",
        )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _first_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:400]
