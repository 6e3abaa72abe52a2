"""What figures depend on besides the bundle and its settings: the machine, and what runs on it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from onepath import __version__
from onepath.contract.processor import this_processor
from onepath.contract.tensors import Closed
from onepath.server.settings import usable_cores
from onepath.server.triton import TritonInstallation

_GPU_INFO = Path("/proc/driver/nvidia/gpus")


class Machine(Closed):
    """A machine's fingerprint; figures of machines whose fingerprints differ are never compared.

    Attributes:
        cpu: the processor's name.
        cores: how many of its cores this process may use.
        gpus: names of the GPUs that NVIDIA's driver lists.
        onepath: the version, whose preprocessing is measured along.
        onnxruntime: the version of the Python package, or none.
        triton: which build of the server.
    """

    cpu: str
    cores: int
    gpus: tuple[str, ...]
    onepath: str
    onnxruntime: str
    triton: str


def this_machine(installation: TritonInstallation) -> Machine:
    """Return the fingerprint of this machine with the Triton that will run on it."""
    return Machine(
        cpu=this_processor().name,
        cores=usable_cores(),
        gpus=gpu_names(_GPU_INFO),
        onepath=__version__,
        onnxruntime=_first_version("onnxruntime", "onnxruntime-gpu"),
        triton=triton_version(installation),
    )


def cores_text(cpu: str, cores: int) -> str:
    """Return a processor and its cores for a person.

    >>> cores_text("AMD EPYC", 1)
    'AMD EPYC, 1 core'
    """
    return f"{cpu}, {cores} core{'s' * (cores != 1)}"


def gpu_names(folder: Path) -> tuple[str, ...]:
    """Return the names of the GPUs of which NVIDIA's driver keeps a file, in its order."""
    texts = [file.read_text(errors="replace") for file in sorted(folder.glob("*/information"))]
    lines = (line.partition(":") for text in texts for line in text.splitlines())
    return tuple(value.strip() for key, _, value in lines if key.strip() == "Model")


def triton_version(installation: TritonInstallation) -> str:
    """Return which Triton it is, as exactly as its files say."""
    if installation.kind == "embedded":
        return f"embedded, nvidia-pytriton {_first_version('nvidia-pytriton')}"
    file = installation.binary.parent.parent / "TRITON_VERSION"
    said = file.read_text().strip() if file.is_file() else f"of {installation.binary.stat().st_size} bytes"
    return f"native {said}"


def _first_version(*packages: str) -> str:
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "none"
