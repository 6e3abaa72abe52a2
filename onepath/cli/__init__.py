"""The command line: thin commands, and the only place that reads the environment or sets up logging."""

from __future__ import annotations


def main() -> None:
    """Run the command that the arguments of this process name, and exit with its code."""
    from onepath.cli.app import run

    run()
