"""ONNX Runtime on a graph's file, closed when it is no longer needed: it holds the weights in memory."""

from __future__ import annotations

from types import TracebackType

import onnxruntime as ort

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.graphs.onnx_file import OnnxFile
from onepath.export.proofs import Arrays, Batch
from onepath.export.rows import feeds_from_batch

_SILENT = 4  # fatal errors only: the others are raised, and told once
_TO_RUN = (
    "let every operation take any number of rows, one and none too: an encoder is given none where its modality is "
    "absent from a whole batch"
)


class GraphSession:
    """Runs a graph by ONNX Runtime on the CPU; a context manager.

    Args:
        file: the graph.

    Raises:
        UnsupportedModuleError: ONNX Runtime cannot load it.
    """

    def __init__(self, file: OnnxFile) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = _SILENT
        try:
            self._session = ort.InferenceSession(str(file.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise _refusal(f"it cannot be loaded: {_line(error)}", "change the operation to another of ONNX") from error
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, batch: Batch) -> Arrays:
        """Return the graph's outputs for a batch, by name.

        Raises:
            UnsupportedModuleError: ONNX Runtime cannot run the graph on it.
        """
        try:
            outputs = self._session.run(None, feeds_from_batch(batch))
        except Exception as error:
            raise _refusal(f"it cannot be run on {batch.title}: {_line(error)}", _TO_RUN) from error
        return dict(zip(self._names, outputs, strict=True))

    def __enter__(self) -> GraphSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None


def _refusal(reason: str, advice: str) -> UnsupportedModuleError:
    return UnsupportedModuleError("the graph in ONNX Runtime", reason, advice)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
