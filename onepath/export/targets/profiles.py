"""The profiles of servers: a YAML file for each release of Triton, and one for the embedded server.

A release whose ONNX Runtime no public document names, such as 26.10, has none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pydantic import Field

from onepath.contract.errors import UnsupportedModuleError
from onepath.contract.nearest import did_you_mean
from onepath.contract.tensors import Closed
from onepath.contract.yaml_files import yaml_from_file

_FOLDER = Path(__file__).parent / "profiles"

DEFAULT_TARGETS = ("embedded", "triton-24.10", "triton-26.06")
"""The servers that a graph is checked against where a recipe names none: the embedded one, the oldest Triton for a GPU
that a bundle promises to run on, and that of the project's Dockerfile."""

_TRITON = "triton-"
_RELEASE = re.compile(rf"{_TRITON}\d\d\.(0[1-9]|1[0-2])")


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

    @property
    def release(self) -> str | None:
        """The release of NVIDIA's containers, `YY.MM`; None for a server that is not one of them."""
        return self.name.removeprefix(_TRITON) if self.name.startswith(_TRITON) else None


@cache
def known_targets() -> dict[str, TargetProfile]:
    """Return every profile by name: the embedded server first, then Triton's releases, the oldest first."""
    return {path.stem: TargetProfile(name=path.stem, **yaml_from_file(path)) for path in sorted(_FOLDER.glob("*.yaml"))}


def targets_from_names(names: Sequence[str]) -> tuple[TargetProfile, ...]:
    """Return the profiles of some names, in their order.

    Raises:
        UnsupportedModuleError: a name is not known; it says which to choose.

    >>> [target.onnxruntime for target in targets_from_names(["triton-24.10"])]
    ['1.19.2']
    """
    known = known_targets()
    for name in names:
        if name not in known:
            meant = "" if _RELEASE.fullmatch(name) else did_you_mean(name, known)  # a release is told which to choose
            raise UnsupportedModuleError(
                f"the target {name!r}", f"there is no profile of this name{meant}", _advice(name)
            )
    return tuple(known[name] for name in names)


def known_releases() -> list[TargetProfile]:
    """Return the profiles of Triton's releases, the oldest first."""
    return [target for target in known_targets().values() if target.release]


def _advice(name: str) -> str:
    """Return what to choose in the place of a name: of a release without a profile, the newest before it."""
    releases = [target.name for target in known_releases()]
    others = ", ".join(known for known in known_targets() if known not in releases)
    known = f"known are {others} and {releases[0]} to {releases[-1]}"
    if not _RELEASE.fullmatch(name):
        return f"choose one that is known; {known}"
    older = [each for each in releases if each < name]
    if not older:
        return f"choose {releases[0]} or a newer one, since nothing is known of older ones; {known}"
    return f"choose {older[-1]}: a newer release reads what an older one reads; {known}"
