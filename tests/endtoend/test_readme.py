"""The README, followed word by word in a fresh copy of the project: the demo, then every command in its order."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.endtoend.conftest import PROJECT

SKIPPED_FOLDERS = shutil.ignore_patterns(".git", ".venv", "build", "scored", "__pycache__", ".*_cache", ".hypothesis")
README = (PROJECT / "README.md").read_text(encoding="utf-8")
ELSEWHERE = ("make ", ". .venv/bin/activate", "onepath serve")
"""Set-up, which `make test` itself has done; and servers, which run beside the commands that call them."""


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for block in code_blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith(ELSEWHERE)]


def environment() -> dict[str, str]:
    """The environment of a shell in which `.venv/bin/activate` was sourced."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "120"}


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, shell=True, cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=900
    )


@contextmanager
def served(command: str, folder: Path):
    """Run `onepath serve …` until the block ends, as a person would with Ctrl-C."""
    log = folder / "serve.log"
    with log.open("w") as output:
        process = subprocess.Popen(command.split(), cwd=folder, env=environment(), stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 120
            while "ready: gRPC" not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    assert "drained" in log.read_text()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project, without anything that was built."""
    return Path(shutil.copytree(PROJECT, tmp_path_factory.mktemp("readme") / "onepath", ignore=SKIPPED_FOLDERS))


@pytest.fixture(scope="module")
def demo(project):
    """What the demo printed."""
    done = run(f"{sys.executable} export/digits/demo.py", project)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_draws_and_tells_where_everything_lies(demo, project):
    assert "model_repository" in demo
    pictures = [*project.glob("build/demo/*.png")]
    assert any(path.stat().st_size > 20_000 for path in pictures)


def test_the_demos_table_has_all_seven_patterns(demo):
    for pattern in ("image", "audio", "text", "image+audio", "image+text", "audio+text", "image+audio+text"):
        assert re.search(rf"(?<![+\w]){re.escape(pattern)}(?![+\w])", demo.replace(" + ", "+")), pattern


@pytest.fixture(scope="module")
def quick(demo, project):
    """Let the second build, after the demo, train for an epoch: that it works is the matter, not what it learns."""
    path = project / "export/digits/recipe.yaml"
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    recipe["settings"] = {
        name: min(value, 2 if name == "renderings" else 1) for name, value in recipe["settings"].items()
    }
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")


def test_every_command_of_the_readme_works_in_its_order(quick, project):
    with served("onepath serve build/model_repository", project):
        for command in commands():
            done = run(command, project)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            assert "Traceback" not in done.stderr
        for program in code_blocks("python"):
            done = subprocess.run(
                [sys.executable, "-c", program], cwd=project, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            assert "'7'" in done.stdout
    (scored,) = (project / "scored").glob("*.parquet")
    assert {"label", "_presence", "_bundle"} <= set(pq.read_schema(scored).names)


def test_the_released_pipeline_is_served_without_an_argument(project):
    with served("onepath serve", project):
        done = run("onepath predict digits --text seven", project)
    assert done.returncode == 0, done.stderr
    assert "7" in done.stdout
