"""Commands in the documentation: each can be parsed as it stands, and those on bundles are run, but the slow one."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer

from onepath.cli.app import app
from tests.export.answered_toy import toy_bundles

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md"))]
GROUP = typer.main.get_command(app)
COMMANDS = GROUP.commands
SLOW = ("onepath tune",)
"""What takes minutes by what it is asked for; tests of its own run it for seconds."""


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str) -> list[str]:
    """The commands in blocks of code, fenced or indented."""
    fenced = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [*"".join(fenced).splitlines(), *re.findall(r"^    (onepath .*)$", text, re.MULTILINE)]
    return [line.split("#")[0].strip() for line in lines if line.strip().startswith("onepath ")]


def in_words(text: str) -> list[str]:
    """The commands, and beginnings of some, in a line of prose."""
    found = re.findall(r"`(onepath [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [re.split(r" [>|…]", " ".join(command.split()))[0] for command in found]


def problem(command: str, *, whole: bool) -> str:
    """What the command line says of a command without running it; nothing if it is fine."""
    _, name, *rest = shlex.split(command)
    if name not in COMMANDS:
        return f"there is no command {name}"
    try:
        COMMANDS[name].make_context(name, rest)
    except typer.Exit:
        return ""
    except Exception as error:  # noqa: BLE001 - of typer's copy of click, or of click itself
        is_beginning = type(error).__name__ == "MissingParameter" or "requires an argument" in str(error)
        return "" if is_beginning and not whole else f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("name", PAGES)
def test_every_command_of_a_page_is_one_with_options_that_it_has(name):
    text = page(name)
    assert {c: said for c in blocks(text) if (said := problem(c, whole=True))} == {}
    assert {c: said for c in in_words(text) if (said := problem(c, whole=False))} == {}


def unknown_options(text: str) -> set[str]:
    """The options that a page speaks of and no command has."""
    parameters = [each for command in (GROUP, *COMMANDS.values()) for each in command.params]
    known = {option for each in parameters for option in (*each.opts, *each.secondary_opts)} | {"--help"}
    return set(re.findall(r"`(--[a-z][a-z-]*)", text)) - known


@pytest.mark.parametrize("name", PAGES)
def test_every_option_that_a_page_speaks_of_is_one(name):
    assert unknown_options(page(name)) == set()


def test_an_option_that_no_command_has_would_be_noticed():
    assert unknown_options("`--precision int8` and `--prcision int8`") == {"--prcision"}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("onepath tune build/digits --latency 50", "No such option"),
        ("onepath tune build/digits --percentile p96", "p96"),
        ("onepath sing build/digits", "there is no command sing"),
        ("onepath verify", "MissingParameter"),
    ],
)
def test_a_command_that_is_none_would_be_noticed(command, said):
    assert said in problem(command, whole=True)


def test_there_are_commands_to_look_at():
    assert len(blocks(page("docs/bundles.md"))) >= 8
    assert "onepath tune build/digits --latency-ms 50" in in_words(page("README.md"))


def test_the_commands_on_bundles_work_in_their_order(onepath, tmp_path, monkeypatch):
    shutil.copytree(toy_bundles()["toy"].path, tmp_path / "build" / "digits")
    monkeypatch.chdir(tmp_path)
    text = page("docs/bundles.md")
    commands = [c for c in [*blocks(text), *in_words(text)] if not c.startswith(SLOW)]
    ran = []
    for command in commands:
        words = shlex.split(command)[1:]
        if len(words) == 1:  # the command's name alone
            continue
        done = onepath(*words)
        assert done.exit_code == 0, f"{command}\n{done.stdout}{done.stderr}"
        ran.append(words[0])
    assert {"inspect", "verify", "sign", "deploy"} <= {*ran}
    assert (tmp_path / "build" / "model_repository").is_dir()
