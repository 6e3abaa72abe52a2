"""The profiles of servers: a YAML file for each release of Triton, and one for the embedded server."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pydantic import Field

from onepath.contract.errors import UnsupportedModuleError
from onepath.contract.nearest import did_you_mean
from onepath.contract.tensors import Closed
from onepath.contract.yaml_files import yaml_from_file

_FOLDER = Path(__file__).parent / "profiles"

DEFAULT_TARGETS = ("embedded", "triton-24.10")
"""The servers that a graph is checked against where a recipe names none: the embedded one, and the same Triton on a
GPU."""


class TargetProfile(Closed):
    """What a server can read. Each figure is the highest that is documented of it; it may read more.

    Attributes:
        name: the profile's name, that of its file.
        container: the image, or the package, that it is.
        onnxruntime: the version of its ONNX Runtime, or the oldest that it may have.
        tensorrt: the version of its TensorRT; None where no public document was found that says it.
        max_opset: the highest ONNX operator set version that it reads.
        max_ir_version: the highest ONNX file format version that it reads.
        sources: where the figures are documented.
    """

    name: str
    container: str
    onnxruntime: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    tensorrt: str | None = Field(default=None, pattern=r"^\d+(\.\d+)+$")
    max_opset: int = Field(ge=18)
    max_ir_version: int = Field(ge=8)
    sources: tuple[str, ...] = Field(min_length=1)

    def __str__(self) -> str:
        return f"{self.name} (ONNX Runtime {self.onnxruntime})"


@cache
def known_targets() -> dict[str, TargetProfile]:
    """Return every profile by name: the embedded server first, then Triton's releases, the oldest first."""
    return {path.stem: TargetProfile(name=path.stem, **yaml_from_file(path)) for path in sorted(_FOLDER.glob("*.yaml"))}


def targets_from_names(names: Sequence[str]) -> tuple[TargetProfile, ...]:
    """Return the profiles of some names, in their order.

    Raises:
        UnsupportedModuleError: a name is not known; the known ones and the nearest are named.

    >>> [target.onnxruntime for target in targets_from_names(["triton-24.10"])]
    ['1.19.2']
    """
    known = known_targets()
    for name in names:
        if name not in known:
            raise UnsupportedModuleError(
                f"the target {name!r}",
                f"there is no profile of this name{did_you_mean(name, known)}",
                f"choose of {', '.join(known)}: a release between two of them reads what the older one reads",
            )
    return tuple(known[name] for name in names)
