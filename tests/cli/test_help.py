import subprocess
import sys

import pytest

from onepath import __version__

COMMANDS = [
    *("plan", "build", "tune", "engine", "sign", "deploy", "serve", "predict", "score", "verify", "inspect", "doctor"),
]


def test_the_overview_names_every_command(onepath):
    stdout = onepath("--help").stdout
    assert [name for name in COMMANDS if f"\n  {name} " not in stdout] == []


def test_the_overview_explains_the_exit_codes(onepath):
    assert "Exit codes: 0 done, 1 the command could not do its job, 2 wrong usage" in onepath("--help").stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_shows_how_it_is_called(onepath, name):
    found = onepath(name, "--help")
    assert found.exit_code == 0
    assert f"Examples:\n    onepath {name}" in found.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_explained(onepath, name):
    lines = [line.split() for line in onepath(name, "--help").stdout.splitlines()]
    assert [words for words in lines if words and words[0].startswith("--") and len(words) == 1] == []


def test_the_version_is_printed(onepath):
    assert onepath("--version").stdout == f"onepath {__version__}\n"


def test_help_loads_nothing_heavy():
    program = (
        "import sys\n"
        "from onepath.cli import main\n"
        "sys.argv = ['onepath', 'score', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'pyarrow', 'PIL', 'soundfile', 'tritonclient', 'rich'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
