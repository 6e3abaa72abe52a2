"""Becomes another program that is told to end when the process that started it ends, however that happens.

Run as a file, `python guarded.py PARENT_PID PROGRAM ARGUMENT…`, so that it starts in milliseconds and needs no package.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask Linux for a SIGTERM at the parent's end, then become the program."""
    parent, *command = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        sys.exit(f"cannot tie {command[0]} to its parent: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != int(parent):  # it ended before the request was made
        sys.exit(f"{command[0]} was not started: the process that asked for it has ended")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
