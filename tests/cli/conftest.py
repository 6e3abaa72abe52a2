"""A folder to work in, with a built and deployed bundle; the command line in this process, and as a process."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from onepath.cli.app import app
from tests.server.bundles import payloads_from_row, png, write_bundle

PROGRAM = Path(sys.executable).with_name("onepath")
ROWS = [{"level": 10, "text": "abc"}, {"text": "cc"}, {"level": 250}, {"level": 77, "text": "b"}]


def environment(**changes):
    """Return this process's environment without what would point the command line elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ONEPATH_")}
    return kept | {"OMP_NUM_THREADS": "1"} | changes


def write_rows(path, rows=ROWS):
    payloads = [payloads_from_row(**row) for row in rows]
    images = pa.array([row.get("image") for row in payloads], pa.binary())
    pq.write_table(pa.table({"image": images, "text": [row.get("text") for row in rows]}), path)


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workspace")
    write_bundle(folder / "build" / "tiny")
    (folder / "dark.png").write_bytes(png(10))
    (folder / "junk.png").write_bytes(b"junk")
    write_rows(folder / "rows.parquet")
    deployed = ["--repository", "model_repository", "--preprocess-instances", "1", "--graph-instances", "1"]
    subprocess.run([PROGRAM, "deploy", "tiny", *deployed], cwd=folder, env=environment(), check=True)
    return folder


@pytest.fixture
def workspace(template, tmp_path, monkeypatch):
    """A copy of the folder, to work in and to damage."""
    folder = tmp_path / "work"
    shutil.copytree(template, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("ONEPATH_SERVER", raising=False)
    return folder


@pytest.fixture
def onepath():
    """Run a command in this process; the result has `exit_code`, `stdout` and `stderr`."""
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def onepath_process(workspace):
    """Run a command as a person does."""

    def run(*arguments, **changes):
        command = [PROGRAM, *map(str, arguments)]
        return subprocess.run(
            command, cwd=workspace, env=environment(**changes), capture_output=True, text=True, check=False, timeout=120
        )

    return run
