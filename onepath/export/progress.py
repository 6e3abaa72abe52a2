"""How long work reports what it does, without knowing who shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeVar

_T = TypeVar("_T")


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


class Steps:
    """Runs the steps of a stage, each with its name beside the bar.

    Args:
        stage: told of each of them.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __call__(self, title: str, work: Callable[[], _T]) -> _T:
        """Return what a step's work returns."""
        self._stage.note(title)
        done = work()
        self._stage.advance()
        return done


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
