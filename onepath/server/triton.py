"""Finding a Triton server on this machine: NVIDIA's own, or the one inside the nvidia-pytriton wheel."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from onepath.contract.errors import ServerUnavailableError

NATIVE_ROOT = Path("/opt/tritonserver")
_WHEEL = "nvidia-pytriton"
_INSTALL = (
    'install the embedded one with: pip install "onepath[serve,embedded]", or run in NVIDIA\'s container '
    "nvcr.io/nvidia/tritonserver, which has it in /opt/tritonserver"
)


@dataclass(frozen=True)
class TritonInstallation:
    """A Triton server that can be started.

    Attributes:
        kind: `native` is NVIDIA's build, `embedded` the one of the nvidia-pytriton wheel.
        binary: the executable `tritonserver`.
        backends: its folder of backends; the Python backend is among them.
        libraries: folders for the dynamic linker.
        stub: the embedded Python backend's process for this version of Python; None where it lies in `backends`.
    """

    kind: Literal["native", "embedded"]
    binary: Path
    backends: Path
    libraries: tuple[Path, ...] = ()
    stub: Path | None = None

    @property
    def has_native_onnxruntime(self) -> bool:
        """Whether NVIDIA's C++ backend for ONNX Runtime is there."""
        return any((self.backends / "onnxruntime").glob("libtriton_onnxruntime*.so"))

    @property
    def has_tensorrt(self) -> bool:
        """Whether NVIDIA's backend for TensorRT engines is there; the embedded server has none."""
        return any((self.backends / "tensorrt").glob("libtriton_tensorrt*.so"))


def find_triton(search_path: str | None = None, native_root: Path = NATIVE_ROOT) -> TritonInstallation:
    """Return the Triton to use: a native one where there is one, else the embedded one.

    Args:
        search_path: folders to look for `tritonserver` in, separated by `:`; the process's PATH unless given.
        native_root: where NVIDIA's containers have it.

    Raises:
        ServerUnavailableError: none was found, or the one found cannot run with this Python; it says what was looked
            for and what to install.
    """
    native = _find_native(search_path, native_root)
    if native is not None:
        return native
    root = _wheel_folder()
    if root is None:
        raise ServerUnavailableError(
            f"no Triton server found: tritonserver is not on PATH, {native_root}/bin/tritonserver does not exist, and "
            f"the package {_WHEEL} is not installed; {_INSTALL}"
        )
    return embedded_from_wheel(root)


def embedded_from_wheel(root: Path) -> TritonInstallation:
    """Return the Triton inside the wheel's package folder `pytriton`.

    Raises:
        ServerUnavailableError: the wheel is incomplete, has nothing for this Python, or numpy is too new for it.
    """
    server = root / "tritonserver"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    installation = TritonInstallation(
        kind="embedded",
        binary=server / "bin" / "tritonserver",
        backends=server / "backends",
        libraries=(root.parent / "nvidia_pytriton.libs",),
        stub=server / "python_backend_stubs" / python / "triton_python_backend_stub",
    )
    for path in (installation.binary, installation.stub, *installation.libraries):
        if path is not None and not path.exists():
            raise ServerUnavailableError(
                f"the embedded Triton cannot run: {path} is missing; it supports CPython 3.10 to 3.12 on x86-64 Linux, "
                f'this is CPython {python}; reinstall it with: pip install --force-reinstall "{_WHEEL}>=0.7,<0.8"'
            )
    check_numpy(version("numpy"))
    return installation


def check_numpy(numpy_version: str) -> None:
    """Check that the embedded Triton's Python processes can exchange arrays with this version of numpy.

    Raises:
        ServerUnavailableError: it is 2 or newer.
    """
    if int(numpy_version.split(".", maxsplit=1)[0]) >= 2:
        raise ServerUnavailableError(
            f"the embedded Triton cannot run with numpy {numpy_version}: its Python processes were built for numpy 1, "
            'and arrays come out wrong with numpy 2; install an older one with: pip install "numpy>=1.26,<2"'
        )


def _find_native(search_path: str | None, native_root: Path) -> TritonInstallation | None:
    found = shutil.which("tritonserver", path=search_path) or shutil.which(
        "tritonserver", path=str(native_root / "bin")
    )
    if found is None:
        return None
    binary = Path(found).resolve()
    backends = binary.parent.parent / "backends"
    if not (backends / "python" / "libtriton_python.so").exists():
        raise ServerUnavailableError(
            f"{binary} has no Python backend in {backends}, which preprocessing needs; use a Triton build that has it "
            "(NVIDIA's full container image does), or take this one off PATH to use the embedded one"
        )
    return TritonInstallation(kind="native", binary=binary, backends=backends)


def _wheel_folder() -> Path | None:
    try:
        version(_WHEEL)
    except PackageNotFoundError:
        return None
    spec = find_spec("pytriton")  # found, not imported: its Python interface is not used
    locations = spec.submodule_search_locations if spec else None
    return Path(next(iter(locations))) if locations else None


def server_environment(installation: TritonInstallation) -> dict[str, str]:
    """Return the environment to start it in: this Python first on PATH, and its libraries for the dynamic linker."""
    libraries = [str(path) for path in installation.libraries]
    inherited = os.environ.get("LD_LIBRARY_PATH")
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "LD_LIBRARY_PATH": os.pathsep.join([*libraries, *([inherited] if inherited else [])]),
        # Every preprocessing process is one of many: threads of numerical libraries would fight for the cores.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    return {**os.environ, **environment}


def assemble_backends(installation: TritonInstallation, folder: Path) -> Path:
    """Return a folder of backends to start the server with.

    The native one as it is, if it has ONNX Runtime; else a new folder that links its backends and adds onepath's
    Python-based `onnxruntime`, and to the embedded one the process for this version of Python.

    Args:
        installation: the server.
        folder: an existing folder that only this user can write to.
    """
    if installation.has_native_onnxruntime:
        return installation.backends
    backends = folder / "backends"
    backends.mkdir()
    for path in installation.backends.iterdir():
        if installation.stub is None or path.name != "python":
            (backends / path.name).symlink_to(path)
    if installation.stub is not None:
        shutil.copytree(
            installation.backends / "python", backends / "python", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copy(installation.stub, backends / "python")
        (backends / "python" / installation.stub.name).chmod(0o755)
    shutil.copytree(Path(__file__).parent / "backends" / "onnxruntime", backends / "onnxruntime")
    return backends
