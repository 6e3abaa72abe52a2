"""The processor of this machine, as Linux describes it in `/proc/cpuinfo`."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
_NAMES = ("model name", "cpu model", "hardware")
_FLAGS = ("flags", "features")


@dataclass(frozen=True)
class Processor:
    """A processor.

    Attributes:
        name: the one that it gives itself, or else the architecture's.
        flags: the instructions that it has, in Linux's words, such as `avx512_vnni`.
    """

    name: str
    flags: frozenset[str]


def this_processor() -> Processor:
    """Return this machine's processor; one without flags where Linux does not describe it."""
    return processor_from_cpuinfo(_CPU_INFO.read_text(errors="replace") if _CPU_INFO.is_file() else "")


def processor_from_cpuinfo(text: str) -> Processor:
    r"""Return the processor that the text of `/proc/cpuinfo` describes.

    >>> found = processor_from_cpuinfo("model name\t: Intel(R) Xeon(R)  Platinum\nflags\t: fpu avx2\n")
    >>> found.name, sorted(found.flags)
    ('Intel(R) Xeon(R) Platinum', ['avx2', 'fpu'])
    """
    pairs = (line.partition(":") for line in text.splitlines())
    lines = [(key.strip().lower(), value.split()) for key, _, value in pairs]
    names = (" ".join(words) for key, words in lines if key in _NAMES and words)
    flags = frozenset(word for key, words in lines if key in _FLAGS for word in words)
    return Processor(next(names, platform.machine()), flags)
