"""An ONNX graph on disk, with its weights inside it, or beside it where one file could not hold them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from onepath.contract.digests import joined_digest, sha256_from_file
from onepath.export.graphs.parts import nodes_of, weights_of

EXTERNAL_OVER_BYTES = (2 << 30) - (64 << 20)
"""Weights of more bytes go to a file of their own: one protobuf message holds less than 2 GiB."""

_INSIDE_BYTES = 1024  # tensors up to here stay in the graph: engines read shapes and axes before they open other files


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX graph on disk.

    Attributes:
        path: the graph's file, `*.onnx`.
    """

    path: Path

    @property
    def data_path(self) -> Path | None:
        """The file of external weights, beside the graph; None where they are inside it."""
        path = data_path_of(self.path)
        return path if path.is_file() else None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The graph's file, and that of its external weights where there is one."""
        return (self.path,) if self.data_path is None else (self.path, self.data_path)

    @property
    def digest(self) -> str:
        """The SHA-256 of the graph with its weights, as the proof chain has it."""
        return joined_digest(sha256_from_file(path) for path in self.paths)

    @property
    def size_bytes(self) -> int:
        """The bytes of its files."""
        return sum(path.stat().st_size for path in self.paths)

    def model(self) -> onnx.ModelProto:
        """Return the graph with all of its weights in memory."""
        return onnx.load(self.path)

    def lazy_model(self) -> ir.Model:
        """Return the graph with its external weights left on disk until they are asked for."""
        return ir.load(self.path)


def data_path_of(path: Path) -> Path:
    """Return where the external weights of a graph are, if it has any.

    >>> data_path_of(Path("graphs/model.onnx")).as_posix()
    'graphs/model.onnx.data'
    """
    return path.with_name(f"{path.name}.data")


def onnx_file_from_model(
    model: onnx.ModelProto | ir.Model, path: Path, *, external_over_bytes: int = EXTERNAL_OVER_BYTES
) -> OnnxFile:
    """Return a graph written to a file, byte for byte the same for the same graph, without hints of shapes in between.

    Args:
        model: left as it is; its weights may be in memory or on disk, but not in the files that are written.
        path: the graph's file, `*.onnx`; its folder is there. A graph that was there is replaced.
        external_over_bytes: if the weights have more bytes than this, they go to `path` with `.data` behind it, but for
            the small ones.
    """
    graph = model.clone() if isinstance(model, ir.Model) else ir.from_proto(model)
    data = data_path_of(path)
    data.unlink(missing_ok=True)
    if weight_bytes(graph) > external_over_bytes:
        ir.external_data.unload_from_model(graph, path.parent, data.name, size_threshold_bytes=_INSIDE_BYTES)
    else:
        ir.external_data.load_to_model(graph)
    proto = ir.to_proto(graph)
    del proto.graph.value_info[:]
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return OnnxFile(path)


def weight_bytes(model: ir.Model) -> int:
    """Return the bytes of all weights of a model, those of its sub-graphs too."""
    return sum(value.const_value.nbytes for value in weights_of(model) if value.const_value is not None)


def cleaned(model: ir.Model) -> ir.Model:
    """Return a model from which notes, traces and paths of the machine that made it were taken out, in place."""
    model.producer_name, model.producer_version = "onepath", None
    ClearMetadataAndDocStringPass()(model)
    _clear(model)
    _clear(model.graph)
    outputs = (output for node in nodes_of(model) for output in node.outputs)
    for value in (*model.graph.inputs, *model.graph.outputs, *weights_of(model), *outputs):
        _clear(value)
    return model


def _clear(part: ir.Model | ir.Graph | ir.Value) -> None:
    part.metadata_props.clear()
    part.doc_string = None
