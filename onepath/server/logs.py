"""What a person needs of Triton's log: why it failed, in a few lines."""

from __future__ import annotations

import re
from pathlib import Path

_SEVERITY = re.compile(r"^(?P<severity>[EFWI])\d{4} [\d:.]+ \d+ \S+\] (?P<text>.*)$")
_ALWAYS_THERE = re.compile(
    r"unable to create stream|CUDA driver version is insufficient|CudaDriverHelper has not been initialized"
)
"""Said as an error by every Triton that was built for GPUs and has none."""
_SHOWN = 4
_LENGTH = 400


def reason_from_log(log: Path) -> str:
    """Return the last errors of a log, or its last lines where it has none, joined by ` | `."""
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    lines = [line for line in lines if line.strip(" +-|") and not _ALWAYS_THERE.search(line)]
    errors = [found["text"] for line in lines if (found := _SEVERITY.match(line)) and found["severity"] in "EF"]
    shown = list(dict.fromkeys(errors)) or lines
    if not shown:
        return "it wrote nothing"
    return " | ".join(line.strip().strip('"')[:_LENGTH] for line in shown[-_SHOWN:])
