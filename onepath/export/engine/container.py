"""Where TensorRT comes from: NVIDIA's container of the release that a bundle is meant for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from onepath.contract.errors import OnepathError
from onepath.export.engine.releases import builds_engines
from onepath.export.targets.profiles import TargetProfile, targets_from_names

DEFAULT_RELEASE = "26.06"
"""The release of NVIDIA's containers for a bundle that names none; it is that of the project's Dockerfile."""
_MOUNT = "/bundles"
_SOURCE = "/onepath"
_PROJECT_NAME = re.compile(r"""^name\s*=\s*["']onepath["']""", re.MULTILINE)


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


def checkout_of_package(package: Path) -> Path | None:
    """Return the checkout of onepath that its package lies in; None for an installed one, as in `site-packages`.

    Args:
        package: the folder of the package `onepath`.
    """
    checkout = package.absolute().parent
    project = checkout / "pyproject.toml"
    if not project.is_file():
        return None
    return checkout if _PROJECT_NAME.search(project.read_text(encoding="utf-8")) else None


def docker_command(bundle: Path, options: Sequence[str], *, release: str, checkout: Path | None = None) -> str:
    """Return a shell command that builds a bundle's engine in NVIDIA's container.

    >>> print(docker_command(Path("/srv/build/digits"), ["--precision", "bf16"], release="26.06"))
    docker run --rm --gpus all -e PIP_BREAK_SYSTEM_PACKAGES=1 -v /srv/build:/bundles nvcr.io/nvidia/tensorrt:26.06-py3 \
bash -c 'pip install "onepath[export]" && onepath engine /bundles/digits --precision bf16'
    >>> print(docker_command(Path("/srv/build/digits"), [], release="26.06", checkout=Path("/home/me/onepath")))
    docker run --rm --gpus all -e PIP_BREAK_SYSTEM_PACKAGES=1 -v /srv/build:/bundles -v /home/me/onepath:/onepath:ro \
nvcr.io/nvidia/tensorrt:26.06-py3 bash -c 'pip install "/onepath[export]" && onepath engine /bundles/digits'

    Args:
        bundle: its folder, whose parent is mounted: a bundle is replaced by a renamed neighbour.
        options: those of `onepath engine`.
        release: of NVIDIA's containers, `YY.MM`.
        checkout: of onepath, which is mounted read-only (its build backend writes nothing there) and installed; without
            one, onepath is installed by its name.
    """
    place = bundle.absolute()
    inside = shlex.join(["onepath", "engine", f"{_MOUNT}/{place.name}", *options])
    image = f"nvcr.io/nvidia/tensorrt:{release}-py3"
    system = "PIP_BREAK_SYSTEM_PACKAGES=1"  # the container is thrown away, and its Python is the system's
    mounts = ["-v", f"{place.parent}:{_MOUNT}"] + (["-v", f"{checkout}:{_SOURCE}:ro"] if checkout else [])
    package = _SOURCE if checkout else "onepath"
    command = ["docker", "run", "--rm", "--gpus", "all", "-e", system, *mounts, image]
    return shlex.join([*command, "bash", "-c", f'pip install "{package}[export]" && {inside}'])
