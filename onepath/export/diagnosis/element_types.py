"""Whether the operators of a written graph take the element types that they get, told by the lines they come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.diagnosis.lines import SourceLine
from onepath.export.diagnosis.lint import origin_of_node
from onepath.export.diagnosis.parts import WHOLE
from onepath.export.graphs.parts import nodes_of

_UNSUPPORTED = re.compile(r"op_type:(\w+), node name: ([^)]*)\): .*has unsupported type: tensor\((\w+)\)")


@dataclass(frozen=True)
class Origin:
    """Where a node comes from, as far as it is known.

    Attributes:
        line: of the model's code.
        part: the module, in words; empty where unknown.
    """

    line: SourceLine | None = None
    part: str = ""


def origins_of(model: ir.Model) -> dict[str, Origin]:
    """Return where each named node of a graph comes from, while the graph still says so."""
    return {node.name: Origin(*origin_of_node(node)) for node in nodes_of(model) if node.name}


def check_file(path: Path, origins: Mapping[str, Origin]) -> None:
    """Check that a graph is ONNX, and that no operator gets elements of a type that ONNX has it not for.

    Args:
        path: the graph's file.
        origins: those of its nodes, by name.

    Raises:
        UnsupportedModuleError: an operator gets such a type; the line that it comes from is named.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except onnx.shape_inference.InferenceError as error:
        found = _UNSUPPORTED.search(str(error))
        if found is None:
            return  # shapes that cannot be inferred: whether the graph runs is seen when it is run
        operator, name, dtype = found.groups()
        origin = origins.get(name, Origin())
        place = f", from {origin.line}," if origin.line else ""
        reason = f"ONNX has {operator} ({name!r}{place}) not for {dtype}"
        raise UnsupportedModuleError(origin.part or WHOLE, reason, "cast to float32 or int32 first") from error
