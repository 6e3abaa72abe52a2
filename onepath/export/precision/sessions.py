"""ONNX Runtime on this machine: a graph opened for one thread of a CPU, or for a GPU where there is one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import onnxruntime as ort
from onnx import parser

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.graphs.onnx_file import OnnxFile
from onepath.export.proofs import Arrays, Batch
from onepath.export.proving.sessions import GraphSession, open_session
from onepath.export.recipe.precision import Machine

Run = Callable[[Batch], Arrays]
"""Gives a graph's outputs for a batch, by name."""
_PROVIDERS: dict[Machine, str] = {"cpu": "CPUExecutionProvider", "gpu": "CUDAExecutionProvider"}
_SMALLEST = '<ir_version: 8, opset_import: ["": 17]> smallest (float[1] x) => (float[1] y) { y = Neg(x) }'


@cache
def is_at_hand(machine: Machine) -> bool:
    """Return whether ONNX Runtime can run on such a machine here: built for it, and with one that works."""
    provider = _PROVIDERS[machine]
    if provider not in ort.get_available_providers():
        return False
    graph = parser.parse_model(_SMALLEST).SerializeToString()
    return provider in open_session(graph, providers={provider: {}}).get_providers()


def run_from_graph(path: Path, machine: Machine = "cpu") -> Run:
    """Return what runs a graph's file; on a CPU in the calling thread alone, as it is deployed unless told otherwise.

    Raises:
        UnsupportedModuleError: there is no such machine, in whose place ONNX Runtime would take a CPU.
        Exception: ONNX Runtime's own, of several types, where it cannot run the graph on this machine.
    """
    if not is_at_hand(machine):
        reason = f"{_PROVIDERS[machine]} is not at hand"
        raise UnsupportedModuleError(f"ONNX Runtime on a {machine.upper()}", reason, "build on a machine that has one")
    return GraphSession(OnnxFile(path), threads=1, providers={_PROVIDERS[machine]: {}}, explains=False)
