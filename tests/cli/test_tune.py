import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time

import pytest

from onepath.contract.bundle import open_bundle
from tests.cli.conftest import PROGRAM, environment
from tests.cli.test_serve_and_predict import processes_with
from tests.server.bundles import write_bundle

TOO_COARSE = (1.0, 2.0, 3.02)
SHORT = ("--minutes", "0.01", "--window-s", "0.3", "--warm-up-s", "0.1", "--concurrency", "2", "--latency-ms", "5000")


ARGUMENTS = ("tune", "tiny", *SHORT, "--output", "out")


@pytest.fixture(scope="module", autouse=True)
def one_core():
    """One core, so that servers start one process each of what they would start one a core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


@pytest.fixture(scope="module")
def measured(tmp_path_factory, one_core):
    """A folder in which the default and one graph that fails its probes were measured, and what was printed."""
    folder = tmp_path_factory.mktemp("tuned")
    write_bundle(folder / "build" / "tiny", variants={"int8": TOO_COARSE}, gate=0.01)
    command = [PROGRAM, *ARGUMENTS, "--dry-run"]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=120
    )
    return folder, done


@pytest.fixture
def again(measured, tmp_path, monkeypatch):
    """A copy of the folder, to go on in."""
    shutil.copytree(measured[0], tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def tune(onepath):
    """Run the command in the copy, in this process."""
    return lambda *arguments: onepath(*ARGUMENTS, *arguments)


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_at_least_the_default_and_one_more_are_measured_however_short_the_time(measured):
    folder, done = measured
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (folder / "out" / "journal.jsonl").read_text().splitlines()]
    assert [each["candidate"]["settings"]["precision"] for each in lines] == ["fp32", "int8"]
    assert lines[0]["figures"]["rows_per_s"] > 0
    assert lines[0]["requests"] > 0
    assert "the time was up" in done.stdout


def test_a_graph_that_fails_its_probes_is_shown_with_its_reason_and_not_chosen(measured):
    _, done = measured
    assert re.search(
        r"^int8 \d+×1 failed: tiny does not pass its probes: .* is off by 0\.016, over 0\.01", done.stdout, re.M
    )
    assert re.search(r"^chosen: fp32 \d+×1$", done.stdout, re.M)


def test_the_table_says_how_it_was_measured(measured):
    _, done = measured
    assert done.stdout.startswith("tiny: 2 clients, 1 row a request, every presence pattern")
    assert "which the clients shared with the server" in done.stdout


def test_a_dry_run_leaves_the_bundle_as_it_was(measured):
    folder, done = measured
    assert open_bundle(folder / "build" / "tiny").manifest.deployment == {}
    assert "the bundle is as it was" in done.stdout


def test_the_command_that_deploys_the_choice_without_writing_it_gives_the_settings_that_were_measured(again, onepath):
    done = onepath(*ARGUMENTS, "--dry-run")
    (line,) = (line for line in done.stdout.splitlines() if ": onepath deploy " in line)
    words = shlex.split(line.partition(": onepath ")[2])
    assert onepath(*words, "-r", "repository").exit_code == 0
    recorded = json.loads((again / "repository/tiny/1/deployment.json").read_text())["settings"]
    report = json.loads((again / "out/tuning.json").read_text())
    (chosen,) = (each["candidate"]["settings"] for each in report["measured"] if each["is_chosen"])
    assert recorded == chosen
    assert open_bundle(again / "build" / "tiny").manifest.deployment == {}


def test_nothing_is_left_running_or_lying_about(measured):
    folder, _ = measured
    assert processes_with(str(folder)) == []
    names = sorted(re.sub("-[0-9a-f]{8}", "", path.name) for path in (folder / "out").iterdir())
    assert names == ["journal.jsonl", "server.log", "tuning.json", "tuning.png"]


def test_a_second_run_measures_nothing_and_writes_the_choice_into_the_bundle(again, tune):
    before, journal = open_bundle(again / "build" / "tiny"), (again / "out" / "journal.jsonl").read_bytes()
    done = tune()
    after = open_bundle(again / "build" / "tiny")
    assert (done.exit_code, (again / "out" / "journal.jsonl").read_bytes()) == (0, journal)
    assert after.manifest.deployment["precision"] == "fp32"
    assert {"reports/tuning.json", "reports/tuning.png"} == set(after.manifest.files) - set(before.manifest.files)
    assert json.loads((after.path / "reports/tuning.json").read_bytes())["context"]["bundle_id"] == before.id
    assert f"whose id is now {after.short_id} (was {before.short_id})" in done.stdout
    assert "a signature of it has to be made anew" in done.stdout


def test_a_tuned_bundle_is_deployed_with_its_settings_and_what_was_measured_of_it_still_counts(again, tune, onepath):
    tune()
    assert onepath("deploy", "tiny", "-r", "repository").exit_code == 0
    recorded = json.loads((again / "repository/tiny/1/deployment.json").read_text())["settings"]
    chosen = open_bundle(again / "build" / "tiny").manifest.deployment
    assert chosen.items() <= recorded.items()
    journal = (again / "out" / "journal.jsonl").read_bytes()
    assert tune().exit_code == 0
    assert (again / "out" / "journal.jsonl").read_bytes() == journal


def test_on_another_machine_it_is_told_that_the_settings_were_measured_elsewhere(again, tune, onepath, monkeypatch):
    tune()
    assert "measured" not in onepath("deploy", "tiny", "-r", "repository").stderr
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    told = onepath("deploy", "tiny", "-r", "repository").stderr
    assert re.search(r"settings were measured on .*, 1 core, and this is .*, 64 cores: `onepath tune .*tiny`", told)


def test_a_bound_that_nothing_keeps_is_an_error_that_names_the_fastest_and_writes_nothing(again, tune):
    bundle = files(again / "build")
    done = tune("--latency-ms", "0.001")
    assert done.exit_code == 1
    assert re.search(r"no settings keep a p95 latency of 0\.001 ms; the fastest, fp32 \d+×1, have", done.stderr)
    assert "fp32" in done.stdout
    assert files(again / "build") == bundle


@pytest.mark.parametrize("option", ["--minutes", "--window-s", "--warm-up-s"])
def test_a_time_without_an_end_is_refused(again, tune, option):
    done = tune(option, "inf")
    assert done.exit_code == 2
    assert option in done.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--pattern", "smell"], "it has: image, text, image+text"),
        (["--rows", "9"], "more than the bundle's batch of 8; give fewer --rows"),
    ],
)
def test_a_load_that_does_not_fit_the_bundle_is_refused_before_anything_is_measured(again, tune, arguments, problem):
    shutil.rmtree(again / "out")
    done = tune(*arguments)
    assert done.exit_code == 1
    assert problem in done.stderr
    assert not (again / "out").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_ends_its_server_and_keeps_its_journal(again, number, code):
    journal = (again / "out" / "journal.jsonl").read_bytes()
    command = [PROGRAM, "tune", "tiny", "--output", "out", "--window-s", "60", "--concurrency", "1"]
    with subprocess.Popen(command, cwd=again, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not processes_with(f"--model-repository={again}") and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        assert process.returncode == code
    assert processes_with(str(again)) == []
    assert (again / "out" / "journal.jsonl").read_bytes() == journal
    assert not (again / "out" / "repository").exists()
