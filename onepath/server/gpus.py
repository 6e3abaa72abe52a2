"""The GPUs of this machine, as NVIDIA's driver reports them."""

from __future__ import annotations

import shutil
import subprocess

_COMMAND = ("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader")
_TIMEOUT_S = 20.0


def compute_capabilities() -> tuple[str, ...]:
    """Return the compute capabilities of this machine's GPUs, such as `9.0`, sorted; empty where none is known."""
    if shutil.which(_COMMAND[0]) is None:
        return ()
    try:
        done = subprocess.run(_COMMAND, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return capabilities_from_lines(done.stdout)


def capabilities_from_lines(text: str) -> tuple[str, ...]:
    r"""Return nvidia-smi's answer, each capability once; a GPU that does not say its own has none.

    >>> capabilities_from_lines("9.0\n8.6\n9.0\n[N/A]\n")
    ('8.6', '9.0')
    """
    words = {line.strip() for line in text.splitlines()}
    return tuple(sorted(word for word in words if word.replace(".", "", 1).isdigit()))
