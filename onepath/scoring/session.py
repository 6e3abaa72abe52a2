"""Opening an ONNX graph in ONNX Runtime, with the providers that were asked for or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onepath.contract.errors import MissingExtraError, ScoringError
from onepath.scoring.settings import EngineSettings

_PROVIDER_OPTIONS = {"CUDAExecutionProvider": {"use_tf32": "0"}}  # TF32 would be off by 1e-3


def open_session(graph_path: Path, settings: EngineSettings) -> Any:  # onnxruntime has no types
    """Return an `onnxruntime.InferenceSession`.

    Args:
        graph_path: the ONNX graph.
        settings: threads and execution providers.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ScoringError: a provider is not available here, or ONNX Runtime cannot load the graph.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "serve", purpose="scoring offline") from error
    missing = [name for name in settings.providers if name not in onnxruntime.get_available_providers()]
    if missing:
        raise _no_provider(missing[0], onnxruntime.get_available_providers())
    providers = [(name, _PROVIDER_OPTIONS.get(name, {})) for name in settings.providers]
    try:
        session = onnxruntime.InferenceSession(
            str(graph_path), _session_options(onnxruntime, settings), providers=providers
        )
    except _errors(onnxruntime) as error:
        raise ScoringError(f"ONNX Runtime cannot load {graph_path}: {error}; build the bundle again") from error
    if session.get_providers()[0] != settings.providers[0]:  # it falls back with no more than a warning
        raise _no_provider(settings.providers[0], session.get_providers())
    return session


def _errors(onnxruntime: Any) -> tuple[type[Exception], ...]:  # a module; its errors have no common base
    state = onnxruntime.capi.onnxruntime_pybind11_state
    return tuple(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))


def _session_options(onnxruntime: Any, settings: EngineSettings) -> Any:  # a module, and an object without types
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: warnings are about the graph, not about the user's rows
    if settings.graph_threads:
        options.intra_op_num_threads = settings.graph_threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # decoding needs the cores
    return options


def _no_provider(name: str, available: list[str]) -> ScoringError:
    return ScoringError(
        f"ONNX Runtime has no working {name} here; available: {', '.join(available)}; "
        "see `onepath doctor` for what to install",
        provider=name,
    )
