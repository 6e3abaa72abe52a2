"""Where TensorRT comes from: NVIDIA's container of the release that a bundle is meant for."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from onepath.contract.errors import OnepathError
from onepath.export.engine.releases import builds_engines
from onepath.export.targets.profiles import TargetProfile, targets_from_names

DEFAULT_RELEASE = "26.06"
"""The release of NVIDIA's containers for a bundle that names none; it is that of the project's Dockerfile."""
_MOUNT = "/bundles"


class NoTensorRTError(OnepathError):
    """TensorRT, its Python package or a GPU is missing; `docker` is a command that has them."""

    docker: str

    def __init__(self, problem: str, *, docker: str, release: str) -> None:
        (target,) = targets_from_names([f"triton-{release}"])  # an engine of another version would be refused
        version = f' "tensorrt=={target.tensorrt}.*"' if target.tensorrt else ""
        super().__init__(
            f"cannot build an engine here: {problem}; on a machine with an NVIDIA GPU, install it with: "
            f'pip install "onepath[tensorrt]"{version}, or use NVIDIA\'s container:\n  {docker}',
            docker=docker,
        )


def release_from_targets(targets: Sequence[TargetProfile]) -> str:
    """Return the newest of the releases that an engine is meant for, as far as their TensorRT is new enough.

    The containers of TensorRT and of Triton have the same releases, and those of one month hold the same TensorRT: only
    the version that built an engine loads it.

    >>> from onepath.export.targets import targets_from_names
    >>> release_from_targets(targets_from_names(["triton-24.10", "triton-26.02"])), release_from_targets([])
    ('26.02', '26.06')
    """
    return max((str(target.release) for target in targets if builds_engines(target)), default=DEFAULT_RELEASE)


def docker_command(bundle: Path, options: Sequence[str], *, release: str) -> str:
    """Return a shell command that builds a bundle's engine in NVIDIA's container.

    >>> print(docker_command(Path("/srv/build/digits"), ["--precision", "bf16"], release="26.06"))
    docker run --rm --gpus all -e PIP_BREAK_SYSTEM_PACKAGES=1 -v /srv/build:/bundles nvcr.io/nvidia/tensorrt:26.06-py3 \
bash -c 'pip install "onepath[export]" && onepath engine /bundles/digits --precision bf16'

    Args:
        bundle: its folder, whose parent is mounted: a bundle is replaced by a renamed neighbour.
        options: those of `onepath engine`.
        release: of NVIDIA's containers, `YY.MM`.
    """
    place = bundle.absolute()
    inside = shlex.join(["onepath", "engine", f"{_MOUNT}/{place.name}", *options])
    image = f"nvcr.io/nvidia/tensorrt:{release}-py3"
    system = "PIP_BREAK_SYSTEM_PACKAGES=1"  # the container is thrown away, and its Python is the system's
    command = ["docker", "run", "--rm", "--gpus", "all", "-e", system, "-v", f"{place.parent}:{_MOUNT}", image]
    return shlex.join([*command, "bash", "-c", f'pip install "onepath[export]" && {inside}'])
