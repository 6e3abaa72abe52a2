"""Reading the files that a column of paths names: one that cannot be read is that row's status, never an error."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from onepath.contract.status import Status

MAX_FILE_BYTES = 1 << 28
"""The most that is read of one file, whatever the modality's own limit: 256 MiB."""


@dataclass(frozen=True)
class MediaFolder:
    """Where paths lead.

    Attributes:
        base: the folder that relative paths start from.
        confined: whether files outside of `base` are refused, links followed.
        max_bytes: the largest file that is read.
    """

    base: Path
    confined: bool = False
    max_bytes: int = MAX_FILE_BYTES

    def read(self, name: str | None) -> bytes | Status:
        """Return the bytes of a file, empty for None or an empty name, or the status that says why not."""
        if not name:
            return b""
        path = self.base / name
        try:
            if self.confined and not path.resolve().is_relative_to(self.base.resolve()):
                return Status("outside_root", f"{name} lies outside {self.base}")
            return self._bytes(path, name)
        except (OSError, ValueError, RuntimeError) as error:  # ValueError: a null byte; RuntimeError: a loop of links
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return Status("unreadable_file", f"cannot read {name}: {reason}")

    def _bytes(self, path: Path, name: str) -> bytes | Status:
        # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                return Status("unreadable_file", f"cannot read {name}: it is not a file")
            if facts.st_size > self.max_bytes:
                return Status("too_large", f"{name} has {facts.st_size:,} bytes; at most {self.max_bytes:,} are read")
            data = file.read(self.max_bytes)
        return data or Status("empty", f"{name} has no bytes; give null where the modality is absent")
