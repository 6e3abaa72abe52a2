"""Every call of TensorRT: versions 10.12 and later of 10, and 11.

Written against https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/index.html and the pages on
migrating from 10 to 11. A network is strongly typed, which 11 does always: the precision is that of the graph.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onepath.contract.errors import OnepathError
from onepath.contract.publication import publish_file
from onepath.export.engine.builder import BuildOptions, Device, EngineRefusedError, Run, Tensors
from onepath.export.engine.releases import OLDEST_TENSORRT

Library = Any  # the module `tensorrt` and its objects, which have no types

_NEWEST_MAJOR = 11


class UnusableTensorRTError(OnepathError):
    """TensorRT, or what it needs, is missing here or of another version."""


class TensorRTBuilder:
    """Builds engines with TensorRT, for the current CUDA device of torch.

    Raises:
        UnusableTensorRTError: TensorRT is missing or of another version, or torch sees no GPU.
    """

    def __init__(self) -> None:
        self._trt = _library()
        self._torch = _torch()
        self._said: list[str] = []
        self._logger = _collecting_logger(self._trt, self._said)
        self._runtime = self._trt.Runtime(self._logger)  # has to outlive the engines that it opens

    @property
    def version(self) -> str:
        """TensorRT's version."""
        return str(self._trt.__version__)

    @property
    def device(self) -> Device:
        """The current CUDA device."""
        major, minor = self._torch.cuda.get_device_capability()
        return Device(str(self._torch.cuda.get_device_name()), f"{major}.{minor}")

    def build(self, graph: Path, options: BuildOptions) -> bytes:
        """Return the serialised engine of an ONNX graph.

        Raises:
            EngineRefusedError: the parser or the builder refuses the graph.
        """
        self._said.clear()
        builder = self._trt.Builder(self._logger)
        network = builder.create_network(self._network_flags())
        parser = self._trt.OnnxParser(network, self._logger)
        if not parser.parse_from_file(str(graph)):
            raise self._refused([_parser_error(parser.get_error(index)) for index in range(parser.num_errors)])
        config = self._config(builder, network, options)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise self._refused(self._said)
        if options.timing_cache is not None:
            publish_file(options.timing_cache, bytes(config.get_timing_cache().serialize()))
        return bytes(plan)

    def inspect(self, engine: bytes) -> str:
        """Return the engine inspector's JSON, with the types that the layers have at the size they are tuned for."""
        opened = self._opened(engine)
        context = self._context(opened)
        for name in self._names(opened, "INPUT"):
            _, best, _ = opened.get_tensor_profile_shape(name, 0)
            context.set_input_shape(name, best)
        context.infer_shapes()
        inspector = opened.create_engine_inspector()
        inspector.execution_context = context  # without one, types of dynamic shapes are not told
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def load(self, engine: bytes) -> Run:
        """Return what runs an engine on the current CUDA device."""
        opened = self._opened(engine)
        context = self._context(opened)
        return lambda feeds: self._run(opened, context, feeds)

    def _network_flags(self) -> int:
        if int(self.version.partition(".")[0]) >= _NEWEST_MAJOR:
            return 0
        return 1 << int(self._trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)

    def _config(self, builder: Library, network: Library, options: BuildOptions) -> Library:
        trt = self._trt
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        config.clear_flag(trt.BuilderFlag.TF32)  # it is on by default, and would make float32 10 bits
        profile = builder.create_optimization_profile()
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            row = tuple(tensor.shape)[1:]
            profile.set_shape(tensor.name, *((rows, *row) for rows in (1, options.opt_rows, options.max_rows)))
        config.add_optimization_profile(profile)
        if options.timing_cache is not None:
            _set_timing_cache(config, options.timing_cache)
        return config

    def _context(self, engine: Library) -> Library:
        context = engine.create_execution_context()
        if context is None:  # the GPU's memory may be full
            raise self._refused(self._said)
        return context

    def _opened(self, engine: bytes) -> Library:
        self._said.clear()
        opened = self._runtime.deserialize_cuda_engine(engine)
        if opened is None:
            raise self._refused(self._said)
        return opened

    def _run(self, engine: Library, context: Library, feeds: Tensors) -> Tensors:
        torch = self._torch
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            tensors = {name: torch.from_numpy(np.ascontiguousarray(array)).cuda() for name, array in feeds.items()}
            for name, tensor in tensors.items():
                context.set_input_shape(name, tuple(tensor.shape))
            context.infer_shapes()
            outputs = {name: self._empty(engine, context, name, feeds) for name in self._names(engine, "OUTPUT")}
            for name, tensor in (tensors | outputs).items():
                context.set_tensor_address(name, tensor.data_ptr())
            if not context.execute_async_v3(stream.cuda_stream):
                raise self._refused(self._said)
            stream.synchronize()
            return {name: _host_array(tensor) for name, tensor in outputs.items()}

    def _empty(self, engine: Library, context: Library, name: str, feeds: Tensors) -> Library:
        rows = len(next(iter(feeds.values())))
        shape = [rows if size < 0 else size for size in context.get_tensor_shape(name)]
        dtype = getattr(self._torch, _TORCH_TYPES[engine.get_tensor_dtype(name).name])
        return self._torch.empty(shape, dtype=dtype, device="cuda")

    def _names(self, engine: Library, mode: str) -> list[str]:
        names = [str(engine.get_tensor_name(index)) for index in range(engine.num_io_tensors)]
        wanted = getattr(self._trt.TensorIOMode, mode)
        return [name for name in names if engine.get_tensor_mode(name) == wanted]

    def _refused(self, problems: list[str]) -> EngineRefusedError:
        return EngineRefusedError(problems or ["it does not say why"], library=f"TensorRT {self.version}")


_TORCH_TYPES = {
    **{"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "BOOL": "bool"},
    **{"INT8": "int8", "UINT8": "uint8", "INT32": "int32", "INT64": "int64"},
}


def is_supported(version: str) -> bool:
    """Return whether a version of TensorRT is one that these calls are written for.

    >>> [is_supported(version) for version in ("8.6.1", "10.9.0", "10.12.0.36", "11.4.1", "12.0")]
    [False, False, True, True, False]
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    return (major, minor) >= OLDEST_TENSORRT and major <= _NEWEST_MAJOR


def _library() -> Library:
    try:
        import tensorrt
    except (ImportError, OSError) as error:  # it loads its libraries when it is imported
        raise UnusableTensorRTError(f"TensorRT's Python package is not there ({error})") from error
    if not is_supported(tensorrt.__version__):
        raise UnusableTensorRTError(f"TensorRT is {tensorrt.__version__}, and 10.12 up to 11 is needed")
    return tensorrt


def _torch() -> Library:
    import torch

    if not torch.cuda.is_available():
        raise UnusableTensorRTError(f"torch {torch.__version__} sees no GPU")
    return torch


def _collecting_logger(trt: Library, said: list[str]) -> Library:
    class Logger(trt.ILogger):  # type: ignore[misc]  # TensorRT asks for a child of its own class
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Library, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                said.append(" ".join(message.split()))

    return Logger()


def _set_timing_cache(config: Library, path: Path) -> None:
    """Let a build use the times that a file has, or none if they are damaged, or of another GPU or version."""
    path.parent.mkdir(parents=True, exist_ok=True)  # before a build of minutes, after which the file is written
    for known in (path.read_bytes() if path.is_file() else b"", b""):
        cache = config.create_timing_cache(known)
        if cache is not None and config.set_timing_cache(cache, False):
            return


def _parser_error(error: Library) -> str:
    place = f"node {error.node_name()} ({error.node_operator()})" if error.node_operator() else "the model"
    return f"{place}: {' '.join(error.desc().split())} [{error.code()}]"


def _host_array(tensor: Library) -> NDArray[np.generic]:
    wide = tensor.float() if "bfloat16" in str(tensor.dtype) else tensor
    array: NDArray[np.generic] = wide.cpu().numpy()
    return array
