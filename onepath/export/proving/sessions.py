"""ONNX Runtime on a graph's file, closed when it is no longer needed: it holds the weights in memory."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, TracebackType

import onnxruntime as ort

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.graphs.onnx_file import OnnxFile
from onepath.export.proofs import Arrays, Batch
from onepath.export.rows import feeds_from_batch

Providers = Mapping[str, Mapping[str, str]]
"""Execution provider to its settings, the preferred one first."""
CPU: Providers = MappingProxyType({"CPUExecutionProvider": {}})
CUDA: Providers = MappingProxyType({"CUDAExecutionProvider": {"use_tf32": "0"}})
"""TF32 is on by default, and would make float32 10 bits."""

_SILENT = 4  # fatal errors only: the others are raised, and told once
_TO_RUN = (
    "let every operation take any number of rows, one and none too: an encoder is given none where its modality is "
    "absent from a whole batch"
)


class GraphSession:
    """Runs a graph by ONNX Runtime; a context manager.

    Args:
        file: the graph.
        threads: of one run; 1 is the calling thread alone, and 0 as many as the machine has cores.
        providers: what runs it.
        explains: whether an error of ONNX Runtime becomes one that says what to change of the graph; where the graph is
            one of several to try, it is raised as it is.

    Raises:
        UnsupportedModuleError: ONNX Runtime cannot load it.
    """

    def __init__(self, file: OnnxFile, *, threads: int = 0, providers: Providers = CPU, explains: bool = True) -> None:
        self._explains = explains
        try:
            self._session = open_session(str(file.path), threads=threads, providers=providers)
        except Exception as error:  # ONNX Runtime's errors have no common base
            if not explains:
                raise
            raise _refusal(f"it cannot be loaded: {_line(error)}", "change the operation to another of ONNX") from error
        self.outputs = tuple(output.name for output in self._session.get_outputs())

    def __call__(self, batch: Batch) -> Arrays:
        """Return the graph's outputs for a batch, by name.

        Raises:
            UnsupportedModuleError: ONNX Runtime cannot run the graph on it.
        """
        try:
            arrays = self._session.run(None, feeds_from_batch(batch))
        except Exception as error:
            if not self._explains:
                raise
            raise _refusal(f"it cannot be run on {batch.title}: {_line(error)}", _TO_RUN) from error
        return dict(zip(self.outputs, arrays, strict=True))

    def __enter__(self) -> GraphSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None


def open_session(graph: str | bytes, *, threads: int = 0, providers: Providers = CPU) -> ort.InferenceSession:
    """Return ONNX Runtime's session of a graph's file, or of its bytes.

    Where a provider that it was built with does not work, it takes a CPU by itself.

    Raises:
        Exception: ONNX Runtime's own, of several types that have no common base.
    """
    options = ort.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = threads
    wanted = [(name, dict(settings)) for name, settings in providers.items()]
    return ort.InferenceSession(graph, options, providers=wanted)


def _refusal(reason: str, advice: str) -> UnsupportedModuleError:
    return UnsupportedModuleError("the graph in ONNX Runtime", reason, advice)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
