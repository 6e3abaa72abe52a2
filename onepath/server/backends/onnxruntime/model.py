"""A Triton backend in Python that serves any ONNX model of a repository with ONNX Runtime.

It stands in for NVIDIA's C++ backend of the same name and reads the same `config.pbtxt`. It is copied beside Triton's
Python backend and runs there as a file of its own, so that it imports nothing of onepath.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

Array = NDArray[Any]  # any element type of ONNX
Requests = Sequence[Any]  # Triton's requests and responses have no types
Feed = Mapping[str, Array]

_DEFAULT_FILE = "model.onnx"
_LEVELS = {"-1": "ORT_ENABLE_BASIC", "1": "ORT_ENABLE_EXTENDED", "2": "ORT_DISABLE_ALL"}


class TritonPythonModel:
    """One instance of a model: a session, and the names of its inputs and outputs."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the session.

        Args:
            args: Triton's: `model_config` as JSON, the model's folder and version, the instance's kind and device.
        """
        config = json.loads(args["model_config"])
        file = config.get("default_model_filename") or _DEFAULT_FILE
        path = Path(args["model_repository"]) / args["model_version"] / file
        self.session = onnxruntime.InferenceSession(
            str(path), session_options(config), providers=providers(args["model_instance_kind"], args)
        )
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]
        self.batches = config.get("max_batch_size", 0) > 0
        self.strings = {tensor["name"] for tensor in config["input"] if tensor["data_type"] == "TYPE_STRING"}

    def execute(self, requests: Requests) -> list[Any]:
        """Return a response per request; what goes wrong in one is said in its response and harms no other."""
        feeds = [attempt(self._feed, request) for request in requests]
        usable = [index for index, feed in enumerate(feeds) if not isinstance(feed, Exception)]
        answers: list[Any] = list(feeds)
        for index, answer in zip(usable, self._run([feeds[index] for index in usable]), strict=True):
            answers[index] = answer
        return [response(answer) for answer in answers]

    def _feed(self, request: Any) -> Feed:
        feed = {}
        for name in self.inputs:
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is not None:  # an optional input that this request does not have
                feed[name] = self._array(name, tensor)
        return feed

    def _array(self, name: str, tensor: Any) -> Array:
        if name in self.strings:
            return np.asarray(np.vectorize(bytes.decode, otypes=[object])(tensor.as_numpy()))
        try:
            return np.from_dlpack(tensor)  # sees the shared memory; as_numpy() would copy it twice
        except (BufferError, RuntimeError, TypeError):
            return np.asarray(tensor.as_numpy())

    def _run(self, feeds: list[Feed]) -> list[Any]:
        """Return the outputs, or the error, of each feed: in one run together, else each alone."""
        if len(feeds) <= 1 or not self.batches or any(feed.keys() != feeds[0].keys() for feed in feeds):
            return [attempt(self._run_alone, feed) for feed in feeds]
        together = attempt(self._run_together, feeds)
        if isinstance(together, Exception):
            return [attempt(self._run_alone, feed) for feed in feeds]
        return list(together)

    def _run_alone(self, feed: Feed) -> list[Any]:
        tensors = self.session.run(self.outputs, dict(feed))
        return [pb_utils.Tensor(name, array) for name, array in zip(self.outputs, tensors, strict=True)]

    def _run_together(self, feeds: list[Feed]) -> list[list[Any]]:
        merged = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
        arrays = self.session.run(self.outputs, merged)
        ends = np.cumsum([len(next(iter(feed.values()))) for feed in feeds])
        pieces = [np.split(array, ends[:-1]) for array in arrays]
        return [
            [pb_utils.Tensor(name, parts[index]) for name, parts in zip(self.outputs, pieces, strict=True)]
            for index in range(len(feeds))
        ]


def session_options(config: Mapping[str, Any]) -> onnxruntime.SessionOptions:
    """Return ONNX Runtime's options from the parameters that NVIDIA's backend documents.

    `session.*` parameters are handed on as they are, of which NVIDIA's backend knows only some.
    """
    parameters = {name: value["string_value"] for name, value in config.get("parameters", {}).items()}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(parameters.get("intra_op_thread_count", 0))
    options.inter_op_num_threads = int(parameters.get("inter_op_thread_count", 0))
    if parameters.get("execution_mode", "0") == "1":
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    options.enable_cpu_mem_arena = is_true(parameters.get("enable_mem_arena", "true"))
    options.enable_mem_pattern = is_true(parameters.get("enable_mem_pattern", "true"))
    level = str(config.get("optimization", {}).get("graph", {}).get("level", 0))
    name = _LEVELS.get(level, "ORT_ENABLE_ALL")
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, name)
    for key, value in parameters.items():
        if key.startswith("session."):
            options.add_session_config_entry(key, value)
    return options


def providers(kind: str, args: Mapping[str, str]) -> list[Any]:
    """Return the execution providers for an instance: CUDA for a GPU instance, with the CPU for what it cannot run.

    Raises:
        pb_utils.TritonModelException: the instance wants a GPU and this ONNX Runtime has no CUDA.
    """
    if kind != "GPU":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise pb_utils.TritonModelException(
            "this ONNX Runtime has no CUDA, and the instance wants a GPU: install onnxruntime-gpu, or deploy for CPUs"
        )
    return [("CUDAExecutionProvider", {"device_id": args["model_instance_device_id"]}), "CPUExecutionProvider"]


def attempt(function: Callable[[Any], Any], argument: Any) -> Any:
    """Return what a function returns, or the exception that it raises: raising out of `execute` leaks shared memory."""
    try:
        return function(argument)
    except Exception as error:  # noqa: BLE001 - it is answered to the request that caused it
        return error


def response(answer: Any) -> Any:
    """Return Triton's response with output tensors, or with an error."""
    if isinstance(answer, Exception):
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"{type(answer).__name__}: {answer}"))
    return pb_utils.InferenceResponse(output_tensors=answer)


def is_true(text: str) -> bool:
    """Return whether a parameter says yes, as NVIDIA's backend reads it."""
    return text.strip().lower() in {"1", "true", "yes", "on"}
