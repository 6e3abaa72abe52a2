"""Which Parquet files to score, and under which name each is written."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from onepath.contract.errors import ScoringError

SUFFIX = ".parquet"


@dataclass(frozen=True)
class InputFile:
    """A file to score.

    Attributes:
        path: where it is.
        name: its path below the folder that was named, which its output has below the output folder.
    """

    path: Path
    name: Path


def input_files(inputs: Iterable[str | Path]) -> list[InputFile]:
    """Return the Parquet files that paths, folders and patterns name, sorted within each.

    Args:
        inputs: a file; a folder, with every `.parquet` file below it but hidden ones and those whose name starts with
            `_`; or a pattern such as `rows/*.parquet`.

    Raises:
        ScoringError: one of them names no file, or two files would be written under one name.
    """
    files = [file for given in inputs for file in _files(str(given))]
    if not files:
        raise ScoringError("there is nothing to score; give a Parquet file, a folder of them, or a pattern")
    seen: dict[Path, Path] = {}
    for file in files:
        if file.name in seen:
            raise ScoringError(
                f"{seen[file.name]} and {file.path} would both be written as {file.name}; score them in two runs"
            )
        seen[file.name] = file.path
    return files


def _files(given: str) -> list[InputFile]:
    path = Path(given)
    if path.is_file():
        return [InputFile(path, Path(path.name))]
    if path.is_dir():
        return _checked(given, path, path.rglob(f"*{SUFFIX}"))
    if glob.has_magic(given):
        root = next(parent for parent in path.parents if not glob.has_magic(str(parent)))
        return _checked(given, root, root.glob(str(path.relative_to(root))))
    raise ScoringError(f"the input {given} does not exist; give a Parquet file, a folder of them, or a pattern")


def _checked(given: str, root: Path, found: Iterable[Path]) -> list[InputFile]:
    names = sorted(path.relative_to(root) for path in found if path.is_file())
    files = [InputFile(root / name, name) for name in names if not any(part[0] in "._" for part in name.parts)]
    if not files:
        raise ScoringError(f"there is no Parquet file in {given}; its files' names must end in {SUFFIX}")
    return files
