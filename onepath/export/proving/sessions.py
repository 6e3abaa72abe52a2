"""ONNX Runtime on a graph's file, closed when it is no longer needed: it holds the weights in memory."""

from __future__ import annotations

from types import TracebackType

import onnxruntime as ort

from onepath.export.onnx_file import OnnxFile
from onepath.export.proofs import Arrays, Batch
from onepath.export.rows import feeds_from_batch

_SILENT = 3  # errors only


class GraphSession:
    """Runs a graph by ONNX Runtime on the CPU; a context manager.

    Args:
        file: the graph.
    """

    def __init__(self, file: OnnxFile) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = _SILENT
        self._session = ort.InferenceSession(str(file.path), options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, batch: Batch) -> Arrays:
        """Return the graph's outputs for a batch, by name."""
        return dict(zip(self._names, self._session.run(None, feeds_from_batch(batch)), strict=True))

    def __enter__(self) -> GraphSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None
