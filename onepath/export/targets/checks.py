"""Whether the servers that a finished graph is meant for can load it: its versions, domains and operators."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from onepath.contract.errors import UnsupportedModuleError
from onepath.contract.yaml_files import yaml_from_file
from onepath.export.graphs.onnx_file import OnnxFile
from onepath.export.graphs.parts import nodes_of
from onepath.export.targets.profiles import TargetProfile
from onepath.export.targets.versions import check_ir_version, check_opset

_CONTRIB = "com.microsoft"
_CONTRIB_VERSION = 1


def check_graph(file: OnnxFile, targets: Sequence[TargetProfile]) -> None:
    """Check that every target can load a graph, as far as its file says.

    Args:
        file: the graph; its weights are not read.
        targets: the servers that it is meant for.

    Raises:
        UnsupportedModuleError: a target reads neither the file format nor the operator set; or the graph imports a
            domain or uses an operator of ONNX Runtime that not every target is known to have.
    """
    if not targets:
        return
    model = file.lazy_model()
    check_ir_version(model.ir_version, targets)
    for domain, version in model.opset_imports.items():
        if domain == "":
            check_opset(version, targets)
        elif domain != _CONTRIB and domain not in {function.domain for function in model.functions.values()}:
            raise _refused(f"the operators of domain {domain!r}", targets)
        elif domain == _CONTRIB and version != _CONTRIB_VERSION:
            raise _refused(f"version {version} of domain {domain!r}", targets)
    for node in nodes_of(model):
        if node.domain == _CONTRIB and node.op_type not in _contrib_operators():
            raise _refused(f"{_CONTRIB}.{node.op_type}, of node {node.name!r},", targets)


@cache
def _contrib_operators() -> frozenset[str]:
    return frozenset(yaml_from_file(Path(__file__).parent / "contrib_operators.yaml"))


def _refused(what: str, targets: Sequence[TargetProfile]) -> UnsupportedModuleError:
    names = ", ".join(str(target) for target in targets)
    return UnsupportedModuleError(
        "the graph", f"{what} is not known to be in {names}", "use operators of ONNX, or choose other targets"
    )
