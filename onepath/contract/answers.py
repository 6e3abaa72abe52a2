"""What each step's result answers to the golden probes, kept in the bundle so that anyone can measure the proofs again.

See `onepath.contract.stages` for what a stage is. Its answers are the first output for every probe in their order.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onepath.contract.errors import BundleIntegrityError
from onepath.contract.manifest import Manifest
from onepath.contract.stages import MERGE_REFERENCE, stages_of

Answers = Mapping[str, NDArray[np.float64]]
"""Stage to its answers `(probes, width)`."""

ANSWERS = "answers.npz"
"""Where a bundle has them."""
_HEADER_BYTES = 128
_ENCRYPTED = 1  # of the flags of an archive's part
_MOST_BYTES_AROUND = 1024
"""Of what an archive says of one array, twice with its name; and of what it says in the end."""


def bytes_from_answers(answers: Answers) -> bytes:
    """Return answers as an `.npz` file: not compressed, and the same bytes for the same answers.

    Args:
        answers: stage to float64 `(probes, width)`.

    Raises:
        ValueError: an array is of another type or number of axes.
    """
    for name, array in answers.items():
        if array.dtype != np.float64 or array.ndim != 2:
            raise ValueError(f"the answers of {name} are {array.dtype} of {array.ndim} axes, not float64 of two")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in answers.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), _header(*array.shape) + array.astype("<f8").tobytes())
    return file.getvalue()


def answers_from_bundle(manifest: Manifest, root: Path, *, probes: int) -> dict[str, NDArray[np.float64]]:
    """Return the answers of every stage of a bundle, in the order of its chain; none for one of the first schema.

    Args:
        manifest: the bundle's.
        root: its folder.
        probes: how many golden probes it has.

    Raises:
        BundleIntegrityError: the file is not one of answers: a stage is missing, unknown or there twice, an array is
            not finite float64 of the probes and of the first output's width, or the file is larger than these are.
    """
    if manifest.answers is None:
        return {}
    try:
        shape = probes, math.prod(manifest.outputs[0].shape)
        answers = _answers_from_file(root / manifest.answers, stages_of(manifest), shape)
    except (ValueError, OSError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
        problem = f"does not hold the answers of this bundle: {error}"
        raise BundleIntegrityError(manifest.answers, problem, root=str(root)) from error
    return {stage: answers[stage] for stage in stages_of(manifest) if stage in answers}


def _answers_from_file(path: Path, stages: Sequence[str], shape: tuple[int, int]) -> dict[str, NDArray[np.float64]]:
    """Return the stages' answers; what a file may claim or hold is known before any of it is read."""
    most = (len(stages) + 1) * (len(_header(*shape)) + 8 * math.prod(shape) + _MOST_BYTES_AROUND)
    if math.prod(shape) < 1 or path.stat().st_size > most:
        raise ValueError(f"it has more than {most} bytes, or there are no probes")
    answers: dict[str, NDArray[np.float64]] = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            stage = entry.filename.removesuffix(".npy")
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED or stage in answers:
                raise ValueError(f"its part {entry.filename!r} is compressed, encrypted, or there twice")
            if stage == entry.filename or stage not in stages:
                raise ValueError(f"it holds {entry.filename!r}, which is no stage of it")
            answers[stage] = _array(archive.read(entry), stage, shape)
    missing = [stage for stage in stages if stage not in answers and stage != MERGE_REFERENCE]
    if missing:
        raise ValueError(f"it lacks {missing[0]}")
    return answers


def _array(data: bytes, stage: str, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return an array whose header is, byte for byte, that of float64 of a shape."""
    header = _header(*shape)
    if len(data) != len(header) + 8 * math.prod(shape) or not data.startswith(header):
        raise ValueError(f"the array of {stage} is not float64 of {shape[0]} probes and {shape[1]} numbers each")
    array = np.frombuffer(data, "<f8", offset=len(header)).reshape(shape)
    if not np.isfinite(array).all():
        raise ValueError(f"the array of {stage} holds what is no number")
    return array


def _header(rows: int, width: int) -> bytes:
    """Return what an `.npy` file of float64 `(rows, width)` begins with; its format fixes the length to whole lines."""
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, {width}), }}"
    text = text.ljust(_HEADER_BYTES - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + (len(text)).to_bytes(2, "little") + text.encode()
