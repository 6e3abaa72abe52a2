"""Which line of a model's own code a trace of calls leads to, past torch's and the exporter's."""

from __future__ import annotations

import linecache
import re
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir
import onnxscript
import torch

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_NOT_THE_MODEL = tuple(
    f"{Path(folder).resolve()}/"
    for folder in (
        sysconfig.get_paths()["stdlib"],
        *(folder for package in (torch, onnxscript, onnx_ir) for folder in package.__path__),
        Path(__file__).parents[1],
    )
)


@dataclass(frozen=True)
class SourceLine:
    """A line of Python.

    Attributes:
        file: its path.
        number: from 1.
    """

    file: str
    number: int

    @property
    def text(self) -> str:
        """The line's source, empty where the file cannot be read."""
        return linecache.getline(self.file, self.number).strip()

    def __str__(self) -> str:
        return f"{self.file}:{self.number}" + (f", `{self.text}`" if self.text else "")


def line_from_trace(trace: str) -> SourceLine | None:
    """Return the innermost line of a written trace that is the model's own, or None.

    Args:
        trace: as Python prints it, the innermost call last.
    """
    return innermost_own(SourceLine(file, int(number)) for file, number in _FRAME.findall(trace))


def innermost_own(lines: Iterable[SourceLine]) -> SourceLine | None:
    """Return the last line that is not torch's, the standard library's, or the exporter's.

    >>> innermost_own([SourceLine("/home/me/net.py", 7), SourceLine(torch.__file__, 1)])
    SourceLine(file='/home/me/net.py', number=7)
    """
    return next((line for line in reversed(list(lines)) if is_own(line.file)), None)


def is_own(file: str) -> bool:
    """Return whether a file may hold a model's own code; code without a file does not."""
    path = str(Path(file).resolve())
    inside = any(path.startswith(folder) and "/site-packages/" not in path[len(folder) :] for folder in _NOT_THE_MODEL)
    return not file.startswith("<") and not inside
