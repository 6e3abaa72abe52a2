"""The journal of a tuning run: one line a measurement, so that a run that was interrupted goes on where it was."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

from pydantic import ValidationError

from onepath.contract.publication import publish_file
from onepath.contract.tensors import Closed
from onepath.tuning.candidates import Candidate
from onepath.tuning.errors import TuningError
from onepath.tuning.figures import Figures
from onepath.tuning.machine import Machine
from onepath.tuning.settings import Kind, Load

logger = logging.getLogger(__name__)

JOURNAL = "journal.jsonl"
_OLD = "journal.old.jsonl"


class Context(Closed):
    """What measurements must share to be compared.

    Attributes:
        bundle_id: of the bundle as it is without what tuning wrote to it.
        machine: where it was measured.
        load: what the clients did.
        kind: where the graph ran.
    """

    bundle_id: str
    machine: Machine
    load: Load
    kind: Kind


class Entry(Closed):
    """One measurement.

    Attributes:
        context: of which bundle, machine and load.
        candidate: what was measured.
        at_s: when, in seconds since 1970.
        wall_s: how long it took, the server's start and end included.
        requests: how many were answered within the window.
        errors: how many were not.
        figures: None where the candidate failed.
        failure: why it failed.
    """

    context: Context
    candidate: Candidate
    at_s: float
    wall_s: float
    requests: int = 0
    errors: int = 0
    figures: Figures | None = None
    failure: str | None = None


class Journal:
    """The measurements of one context in a file that may hold those of others; a context manager that locks it.

    A line is written at once and flushed to the disk. One that was torn by a crash is at the end, without a line break:
    it is left out, and removed before the next one is written.

    Args:
        folder: where the file is; made where missing.
        context: whose measurements are read; what is appended must be of it.
        fresh: whether to put an older journal aside and begin a new one.

    Raises:
        TuningError: another run writes to it, or a whole line is not a measurement.
    """

    def __init__(self, folder: Path, context: Context, *, fresh: bool = False) -> None:
        self.path, self.context = folder / JOURNAL, context
        self._entries: list[Entry] = []
        self._fresh, self._file = fresh, -1

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The context's measurements, in the order in which they were made."""
        return tuple(self._entries)

    def __enter__(self) -> Journal:
        """Lock the file, and read it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise TuningError(f"cannot write to {self.path} ({error.strerror}); choose another --output") from error
        try:
            self._lock()
            if self._fresh:
                self._put_aside()
            self._entries = self._read()
        except BaseException:
            os.close(self._file)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file, which unlocks it."""
        os.close(self._file)

    def append(self, entry: Entry) -> None:
        """Write a measurement as one line."""
        line = entry.model_dump_json().encode() + b"\n"
        written = os.write(self._file, line)
        if written != len(line):
            raise TuningError(f"{self.path} holds {written} of {len(line)} bytes of a line: is the disk full?")
        os.fsync(self._file)
        self._entries.append(entry)

    def _put_aside(self) -> None:
        # A copy, because the lock is of the file: with another in its place, two runs could each hold one.
        data = self.path.read_bytes()
        if data:
            publish_file(self.path.with_name(_OLD), data)
            os.ftruncate(self._file, 0)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TuningError(
                f"another run holds {self.path}; two at a time would slow each other down: wait for its end, or end it"
            ) from error

    def _read(self) -> list[Entry]:
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            logger.warning("%s: %d bytes of a torn last line are dropped", self.path, len(data) - len(whole))
            os.ftruncate(self._file, len(whole))
        entries = [self._entry(number, line) for number, line in enumerate(whole.splitlines(), start=1)]
        return [entry for entry in entries if entry.context == self.context]

    def _entry(self, number: int, line: bytes) -> Entry:
        try:
            return Entry.model_validate_json(line)
        except ValidationError as error:
            raise TuningError(
                f"line {number} of {self.path} is not a measurement of this release of onepath; put the journal aside "
                "with --fresh"
            ) from error
