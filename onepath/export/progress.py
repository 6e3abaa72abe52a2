"""How long work reports what it does, without knowing who shows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Stage(Protocol):
    """One stage under way."""

    def advance(self, steps: int = 1) -> None:
        """Report that this many steps are done."""

    def note(self, text: str) -> None:
        """Show a short remark beside the stage, such as the current loss."""


class Progress(Protocol):
    """Shows stages, a bar each on a terminal."""

    def stage(self, title: str, total: int) -> AbstractContextManager[Stage]:
        """Open a stage of `total` steps; it is done when the context ends."""


class _Silent:
    def advance(self, steps: int = 1) -> None:
        """Ignore the report."""

    def note(self, text: str) -> None:
        """Ignore the remark."""


class SilentProgress:
    """A progress that shows nothing."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Stage]:
        """Open a stage that shows nothing."""
        yield _Silent()
