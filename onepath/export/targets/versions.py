"""Which ONNX versions a graph is written in, so that every server that it is meant for can read it."""

from __future__ import annotations

from collections.abc import Sequence

from onnx.helper import find_min_ir_version_for, make_opsetid

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.targets.profiles import TargetProfile

NEWEST_OPSET = 20
"""The highest operator set that is chosen unasked: torch's exporter writes 18 and converts it upwards, and this is what
it converts to by default (`ONNX_DEFAULT_OPSET` of torch 2.13). A higher one has to be asked for."""

NEWEST_IR_VERSION = 10
"""The highest file format that is chosen unasked: the newer ones hold nothing that these graphs need."""

OLDEST_OPSET = 18
"""The lowest operator set that torch's exporter writes."""


def versions_for(
    targets: Sequence[TargetProfile], *, opset: int | None = None, ir_version: int | None = None
) -> tuple[int, int]:
    """Return the operator set and file format version to write: the highest that all targets read, or those given.

    Args:
        targets: the servers that the graph is meant for; none of them sets no limit.
        opset: the operator set to write, if it is not to be chosen.
        ir_version: the file format to write, if it is not to be chosen.

    Raises:
        UnsupportedModuleError: a target cannot read what is asked for, or the two do not fit each other.
    """
    chosen = min([NEWEST_OPSET, *(target.max_opset for target in targets)]) if opset is None else opset
    if chosen < OLDEST_OPSET:
        raise UnsupportedModuleError(
            f"opset {chosen}", f"torch writes none below {OLDEST_OPSET}", f"choose opset: {NEWEST_OPSET}"
        )
    check_opset(chosen, targets)
    needed = least_ir_version(chosen)
    newest = min([max(NEWEST_IR_VERSION, needed), *(target.max_ir_version for target in targets)])
    version = newest if ir_version is None else ir_version
    if version < needed:
        raise UnsupportedModuleError(
            f"ir_version {version}",
            f"operator set {chosen} is of file format {needed}",
            f"choose ir_version: {needed}, or a lower opset",
        )
    check_ir_version(version, targets)
    return chosen, version


def check_opset(opset: int, targets: Sequence[TargetProfile]) -> None:
    """Check that every target reads an operator set.

    Raises:
        UnsupportedModuleError: one does not; it is named with what it reads.
    """
    _check(f"opset {opset}", opset, "opset", {target: target.max_opset for target in targets})


def check_ir_version(ir_version: int, targets: Sequence[TargetProfile]) -> None:
    """Check that every target reads a file format.

    Raises:
        UnsupportedModuleError: one does not; it is named with what it reads.
    """
    limits = {target: target.max_ir_version for target in targets}
    _check(f"ir_version {ir_version}", ir_version, "ir_version", limits)


def least_ir_version(opset: int) -> int:
    """Return the file format that came with an operator set.

    >>> least_ir_version(20), least_ir_version(21)
    (9, 10)
    """
    return int(find_min_ir_version_for([make_opsetid("", opset)]))


def _check(name: str, version: int, field: str, limits: dict[TargetProfile, int]) -> None:
    too_old = {target: limit for target, limit in limits.items() if limit < version}
    if too_old:
        told = ", ".join(f"{target} reads at most {limit}" for target, limit in too_old.items())
        names = ", ".join(target.name for target in too_old)
        advice = f"choose {field}: {min(too_old.values())}, or leave {names} out of the targets"
        raise UnsupportedModuleError(name, told, advice)
