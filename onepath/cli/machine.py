"""What a machine can run: facts, each with what to install where something is missing."""

from __future__ import annotations

import csv
import io
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from onepath import __version__
from onepath.contract.errors import ServerUnavailableError
from onepath.contract.processor import Processor, this_processor

_SHM = Path("/dev/shm")
_SHM_NEEDED_BYTES = 256 << 20
_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "bf16")
_DECODERS = {"Pillow": "PIL", "av": "av", "soundfile": "soundfile", "soxr": "soxr", "tokenizers": "tokenizers"}
_PACKAGES = ("numpy", "pydantic", "tritonclient", "pyarrow", "torch", "onnx", "onnxscript", "safetensors")
_GPU_FIELDS = "name,memory.total,driver_version,compute_cap"
_GPU_ADVICE = (
    "for the graph to run on it, deploy with --kind gpu and serve with NVIDIA's Triton; "
    'to score on it offline: pip install "onepath[gpu]" in place of onnxruntime'
)
_COMMAND_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Fact:
    """One thing that was looked at.

    Attributes:
        name: what it is.
        value: what was found, in words.
        ok: whether it is as it should be; things that are only good to have are always ok.
        advice: what to install or change, empty if nothing.
        needed_for: what cannot be done without it, empty where nothing depends on it.
    """

    name: str
    value: str
    ok: bool = True
    advice: str = ""
    needed_for: str = ""


def facts() -> list[Fact]:
    """Return everything that is worth knowing of this machine, the most important first."""
    return [
        Fact("onepath", __version__),
        Fact("Python", f"{platform.python_implementation()} {platform.python_version()}, {platform.platform()}"),
        triton_fact(),
        onnxruntime_fact(),
        *decoder_facts(),
        gpu_fact(),
        shared_memory_fact(),
        cpu_fact(),
        *package_facts(),
    ]


def can_serve(found: Sequence[Fact]) -> bool:
    """Return whether nothing is missing that serving needs."""
    return all(fact.ok for fact in found if fact.needed_for == "serving")


def triton_fact() -> Fact:
    """Return which Triton server there is, and whether it starts."""
    from onepath.server.triton import find_triton, server_environment

    try:
        found = find_triton()
    except ServerUnavailableError as error:
        problem, _, advice = str(error).rpartition("; ")
        return Fact("Triton", problem or str(error), ok=False, advice=advice, needed_for="serving")
    where = f"{found.kind}, {found.binary}"
    if found.kind == "embedded":
        where = f"embedded, nvidia-pytriton {version('nvidia-pytriton')}"
    failure = _failure_to_start([str(found.binary), "--help"], server_environment(found))
    if failure:
        advice = "install what the message names, or take another Triton"
        return Fact("Triton", f"{where}, does not start: {failure}", ok=False, advice=advice, needed_for="serving")
    backend = "C++" if found.has_native_onnxruntime else "Python"
    return Fact("Triton", f"{where}, ONNX Runtime through its {backend} backend", needed_for="serving")


def onnxruntime_fact() -> Fact:
    """Return ONNX Runtime's version and execution providers."""
    try:
        import onnxruntime
    except ImportError:
        advice = 'pip install "onepath[serve]", or "onepath[gpu]" for an NVIDIA GPU'
        return Fact("ONNX Runtime", "not installed", ok=False, advice=advice, needed_for="serving")
    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
    return Fact("ONNX Runtime", f"{onnxruntime.__version__}, providers {providers}", needed_for="serving")


def decoder_facts() -> Iterator[Fact]:
    """Yield the libraries that decode images, video, sound and text, whether they are there and load."""
    for package, module in _DECODERS.items():
        try:
            import_module(module)
            yield Fact(package, version(package), needed_for="serving")
        except (ImportError, OSError) as error:  # OSError: a shared library that the package brings or needs
            missing = isinstance(error, ModuleNotFoundError)
            value = "not installed" if missing else f"does not load ({error})"
            yield Fact(package, value, ok=False, advice='pip install "onepath[serve]"', needed_for="serving")


def gpu_fact() -> Fact:
    """Return the NVIDIA GPUs that the driver reports; none is fine."""
    command = ["nvidia-smi", f"--query-gpu={_GPU_FIELDS}", "--format=csv,noheader"]
    if shutil.which(command[0]) is None:
        return Fact("GPU", "none (no nvidia-smi); everything runs on the CPU")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Fact("GPU", f"nvidia-smi failed ({error})", ok=False, advice="check NVIDIA's driver")
    return Fact("GPU", gpus_from_csv(done.stdout) or "none", advice=_GPU_ADVICE)


def gpus_from_csv(text: str) -> str:
    """Return nvidia-smi's answer in words.

    >>> gpus_from_csv("NVIDIA H200, 143771 MiB, 570.86, 9.0")
    'NVIDIA H200 (143771 MiB, driver 570.86, compute capability 9.0)'
    """
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text)) if len(row) == 4]
    return "; ".join(f"{name} ({size}, driver {driver}, compute capability {cap})" for name, size, driver, cap in rows)


def shared_memory_fact(folder: Path = _SHM, needed_bytes: int = _SHM_NEEDED_BYTES) -> Fact:
    """Return how large the shared memory is that Triton's Python processes exchange arrays in."""
    if not folder.is_dir():
        return Fact(
            "shared memory", f"no {folder}", ok=False, advice=f"mount a tmpfs at {folder}", needed_for="serving"
        )
    total, _, free = shutil.disk_usage(folder)
    enough = free >= needed_bytes
    advice = "" if enough else f"start the container with --shm-size=1g; {needed_bytes >> 20} MiB should be free"
    return Fact("shared memory", f"{free >> 20:,} of {total >> 20:,} MiB free", ok=enough, advice=advice)


def cpu_fact(processor: Processor | None = None) -> Fact:
    """Return how many cores this process may use, and which of the instructions that matter they have.

    Args:
        processor: theirs; that of this machine unless given.
    """
    flags = (processor or this_processor()).flags
    present = ", ".join(flag for flag in _CPU_FLAGS if flag in flags)
    cores = len(os.sched_getaffinity(0))
    return Fact("CPU", f"{cores} usable cores, {platform.machine()}, {present or 'no vector flags known'}")


def package_facts() -> Iterator[Fact]:
    """Yield the versions of further packages, and what those that are missing are for."""
    for package in _PACKAGES:
        extra, purpose = ("serve", "scoring") if package == "pyarrow" else ("export", "building bundles")
        try:
            yield Fact(package, version(package))
        except PackageNotFoundError:
            advice = f'pip install "onepath[{extra}]"'
            yield Fact(package, "not installed", ok=False, advice=advice, needed_for=purpose)


def _failure_to_start(command: Sequence[str], environment: dict[str, str]) -> str:
    """Return why a program does not start, or nothing if it does."""
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return (
        ""
        if done.returncode in (0, 1) and "--model-repository" in done.stdout + done.stderr
        else done.stderr.strip()[-300:]
    )
