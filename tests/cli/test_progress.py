import io

import pytest
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn

from onepath.cli.progress import BarProgress, LineProgress


@pytest.fixture
def screen():
    return io.StringIO()


@pytest.fixture
def bars(screen):
    console = Console(file=screen, force_terminal=True, width=100)
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        yield BarProgress(progress)


def test_elsewhere_a_stage_is_a_line_at_its_start_and_one_at_its_end(capsys):
    with LineProgress().stage("train image", 3) as stage:
        assert capsys.readouterr().err == "train image …\n"
        stage.advance(2)
        stage.note("loss 0.5")
    assert capsys.readouterr().err.startswith("train image: done in 0.0 s (loss 0.5)")


def test_a_stage_that_fails_is_not_said_to_be_done(capsys):
    with pytest.raises(ZeroDivisionError), LineProgress().stage("train image", 3):
        raise ZeroDivisionError
    assert "done" not in capsys.readouterr().err


def test_on_a_terminal_a_stage_is_a_bar_that_moves(bars, screen):
    with bars.stage("train image", 3) as stage:
        stage.advance(2)
        stage.note("loss 0.5")
        bars._progress.refresh()
    assert "2/3" in screen.getvalue()
    assert "loss 0.5" in screen.getvalue()


def test_a_stage_that_ended_is_complete_whatever_was_reported(bars, screen):
    with bars.stage("train image", 3):
        pass
    bars._progress.refresh()
    assert "3/3" in screen.getvalue()
