"""What commands print: bundles, their files and their proofs, as tables."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from onepath.contract.bundle import SHORT_ID
from onepath.contract.manifest import Manifest
from onepath.contract.proofs import ProofStep

_UNBOUNDED = 1000
"""Columns of a table that is not on a terminal: no cell is wrapped."""


def print_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on the standard output; where that is no terminal, it is as wide as its content.

    Args:
        title: the line above it.
        headings: one a column; all of them empty for a table without a head.
        rows: the cells.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings, show_header=any(headings), box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(width=None if sys.stdout.isatty() else _UNBOUNDED)
    with console.capture() as shown:
        console.print(Text(title, style="bold"), table, sep="\n")
    lines = shown.get().splitlines()
    sys.stdout.write("\n".join(line.rstrip() for line in lines).rstrip() + "\n\n")


def print_chain(manifest: Manifest) -> None:
    """Print the proof chain: what each step read and wrote, and the worst of its comparisons at each tolerance."""
    headings = ("step", "of", "count", "worst error", "tolerance", "reads", "writes")
    print_table(f"{manifest.name}: proof chain", headings, chain_rows(manifest.proofs))


def chain_rows(proofs: Iterable[ProofStep]) -> list[tuple[str, ...]]:
    """Return the cells of the proof chain, one row for each tolerance of each step."""
    return [
        (
            *(proof.step, proof.subject),
            str(sum(each.tolerance == tolerance for each in proof.measurements)),
            f"{max(each.error for each in proof.measurements if each.tolerance == tolerance):.1e}",
            tolerance_text(tolerance),
            *(proof.reads[:SHORT_ID], proof.writes[:SHORT_ID]),
        )
        for proof in proofs
        for tolerance in dict.fromkeys(each.tolerance for each in proof.measurements)
    ]


def tolerance_text(tolerance: float) -> str:
    """Return a tolerance for a person, with all its digits where these are no more than six.

    >>> tolerance_text(0.25), tolerance_text(1e-12), tolerance_text(1.5e-05), tolerance_text(2 / 3)
    ('0.25', '1e-12', '1.5e-05', '6.67e-01')
    """
    exact = f"{tolerance:g}"
    return exact if float(exact) == tolerance else f"{tolerance:.2e}"


def size_text(size_bytes: int) -> str:
    """Return a size for a person.

    >>> size_text(999), size_text(1_234_567)
    ('999 B', '1.2 MB')
    """
    if size_bytes < 1000:
        return f"{size_bytes} B"
    kilobytes = size_bytes / 1e3
    return f"{kilobytes:.1f} kB" if kilobytes < 1000 else f"{kilobytes / 1e3:.1f} MB"


def bundle_size(manifest: Manifest) -> int:
    """Return the bytes of a bundle's files."""
    return sum(entry.size_bytes for entry in manifest.files.values())


def examples(*commands: str) -> str:
    """Return commands as the end of a help text, one a line."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)
