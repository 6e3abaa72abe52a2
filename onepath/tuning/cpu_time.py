"""CPU time of a process and of all that it started, from Linux's `/proc`."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_SESSION, _USER, _SYSTEM = 3, 11, 12
"""Fields of `/proc/<pid>/stat`, counted from the one behind the program's name."""


def session_cpu_s(session: int, proc: Path = Path("/proc")) -> float:
    """Return the CPU seconds of the processes of a session that have not ended.

    Args:
        session: the process id of the session's first process.
        proc: where Linux lists its processes.
    """
    ticks = 0
    for path in proc.glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended in the meantime
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[_SESSION]) == session:
                ticks += int(fields[_USER]) + int(fields[_SYSTEM])
    return ticks / os.sysconf("SC_CLK_TCK")
