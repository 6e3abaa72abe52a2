"""Progress of long work: a bar a stage on a terminal, a line at its start and end elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from onepath.export.progress import Progress as ShownProgress


class _Bar:
    """One stage as a bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, steps: int = 1) -> None:
        """Move the bar on."""
        self._progress.advance(self._task, steps)

    def note(self, text: str) -> None:
        """Show the remark behind the bar."""
        self._progress.update(self._task, note=text)


class BarProgress:
    """Stages as bars, one below the other; a stage that ends is shown as complete."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[_Bar]:
        """Open a bar of `total` steps."""
        task = self._progress.add_task(title, total=max(1, total), note="")
        yield _Bar(self._progress, task)
        self._progress.update(task, completed=max(1, total), note="")


class _Line:
    """One stage whose steps are not shown."""

    def __init__(self) -> None:
        self.remark = ""

    def advance(self, steps: int = 1) -> None:
        """Show nothing: a log would only grow."""

    def note(self, text: str) -> None:
        """Keep the remark for the end."""
        self.remark = text


class LineProgress:
    """Stages as two lines each on the error output."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[_Line]:
        """Write a line now and one at the end."""
        typer.echo(f"{title} …", err=True)
        line, began = _Line(), time.perf_counter()
        yield line
        remark = f" ({line.remark})" if line.remark else ""
        typer.echo(f"{title}: done in {time.perf_counter() - began:.1f} s{remark}", err=True)


@contextmanager
def shown_progress() -> Iterator[ShownProgress]:
    """Give what shows progress where the error output leads: bars on a terminal, lines elsewhere."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield LineProgress()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=console) as progress:
        yield BarProgress(progress)
