import contextlib
import json
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import PROGRAM, ROWS, environment
from tests.server.bundles import payloads_from_row, scores

FREE_PORTS = ("--grpc-port", "0", "--http-port", "0", "--metrics-port", "0")
TOLERANCE = 1e-5


class Served:
    """An `onepath serve` that is ready, with what it printed."""

    def __init__(self, folder, *arguments):
        command = [PROGRAM, "serve", *arguments, *FREE_PORTS, "--log-file", folder / "server.log"]
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("try:"):
                break
        found = re.search(r"gRPC (\S+), HTTP (\S+), metrics (\S+)", "".join(self.lines))
        assert found, self.process.stderr.read()
        self.grpc, self.http, self.metrics = found.groups()

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        rest, errors = self.process.communicate(timeout=60)
        return self.process.returncode, rest, errors


def processes_with(text):
    """Return the command lines of running processes that hold a text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended in the meantime
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if text in line]


@pytest.fixture(scope="module")
def served(template):
    server = Served(template, "model_repository")
    yield server
    server.end()


@pytest.fixture
def predict(onepath, workspace, served):
    return lambda *arguments: onepath("predict", "tiny", *arguments, "--server", served.grpc)


def answer(found):
    assert found.exit_code == 0, found.stderr
    return json.loads(found.stdout)


def test_a_ready_server_says_where_it_listens_and_what_to_try(served):
    assert served.lines[0].startswith("tiny: 3 probes answered")
    assert served.lines[-1].endswith(f"onepath predict tiny --image FILE --text … --server {served.grpc}\n")


def test_files_and_text_are_answered(predict):
    found = answer(predict("--image", "dark.png", "--text", "abc", "--json"))
    np.testing.assert_allclose(found["scores"], scores(level=10, text="abc"), atol=TOLERANCE)
    assert found["presence"] == ["image", "text"]


def test_a_modality_that_is_not_given_is_absent(predict):
    found = answer(predict("--image", "dark.png", "--json"))
    np.testing.assert_allclose(found["scores"], scores(level=10), atol=TOLERANCE)
    assert found["presence"] == ["image"]


def test_text_can_come_from_a_file(predict, workspace):
    (workspace / "text.txt").write_text("cc")
    np.testing.assert_allclose(answer(predict("--text", "@text.txt", "--json"))["scores"], scores(text="cc"), atol=1e-5)


def test_http_gives_the_same_answer(onepath, workspace, served):
    arguments = ("--text=abc", "--json", "--protocol", "http", "--server", served.http)
    np.testing.assert_allclose(answer(onepath("predict", "tiny", *arguments))["scores"], scores(text="abc"), atol=1e-5)


def test_the_server_can_come_from_the_environment(onepath_process, served):
    done = onepath_process("predict", "tiny", "--text", "abc", ONEPATH_SERVER=served.grpc)
    assert (done.returncode, done.stdout.split()[0]) == (0, "low")


def test_a_person_reads_label_score_and_what_was_used(predict):
    lines = predict("--image", "dark.png").stdout.splitlines()
    assert lines[0].split() == ["high", f"{3 * 10 / 255:.4f}"]
    assert lines[-1].split() == ["used", "image"]


def test_a_payload_that_was_not_used_is_named(predict):
    found = predict("--image", "junk.png", "--text", "abc")
    assert found.exit_code == 0
    assert "not used  image: " in found.stdout


def test_a_row_without_an_answer_exits_with_1(predict):
    found = predict("--image", "junk.png")
    assert found.exit_code == 1
    assert "nothing is present in this row" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sound", "a.wav"), "no modality 'sound'; it has: image, text"),
        (("--imag", "dark.png"), "did you mean 'image'"),
        (("--image", "none.png"), "cannot read none.png"),
        ((), "nothing was given"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(predict, arguments, message):
    found = predict(*arguments)
    assert found.exit_code == 1
    assert message in found.stderr


def test_an_unknown_pipeline_is_answered_with_the_nearest(onepath, workspace, served):
    found = onepath("predict", "tinny", "--text", "a", "--server", served.grpc)
    assert found.exit_code == 1
    assert "did you mean 'tiny'" in found.stderr


def test_a_server_that_is_not_there_is_one_sentence(onepath, workspace):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can have it
        found = onepath("predict", "tiny", "--text", "a", "--server", f"127.0.0.1:{taken.getsockname()[1]}")
    assert found.exit_code == 1
    assert "cannot reach a server" in found.stderr


def test_server_and_scorer_give_the_same_scores(predict, onepath, workspace):
    assert onepath("score", "tiny", "--input", "rows.parquet", "--output", "scored").exit_code == 0
    offline = pq.read_table("scored/rows.parquet")["scores"].to_pylist()
    for row, expected in zip(ROWS, offline, strict=True):
        payloads = payloads_from_row(**row)
        (workspace / "image.png").write_bytes(payloads.get("image", b""))
        image = ("--image", "image.png") if "image" in payloads else ()
        text = ("--text", row["text"]) if "text" in row else ()
        np.testing.assert_allclose(answer(predict(*image, *text, "--json"))["scores"], expected, atol=TOLERANCE)


def test_a_port_that_is_taken_is_named(onepath, workspace):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = onepath("serve", "model_repository", "--grpc-port", port, "--http-port", 0, "--metrics-port", 0)
    assert found.exit_code == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in found.stderr


def test_a_repository_that_is_not_there_is_named(onepath, workspace):
    found = onepath("serve", "nowhere")
    assert found.exit_code == 1
    assert "there is no model repository (looked at nowhere)" in found.stderr


def test_ctrl_c_drains_a_server_of_a_bundle(workspace):
    server = Served(workspace, "build/tiny")
    code, printed, errors = server.end(signal.SIGINT)
    assert (code, printed) == (0, "drained and ended\n")
    assert "Traceback" not in errors


def test_sigterm_drains_the_repository_that_is_found_here(workspace):
    code, printed, _ = Served(workspace).end(signal.SIGTERM)
    assert (code, printed) == (0, "drained and ended\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_server_that_is_stopped_while_it_starts_leaves_no_process_and_at_most_its_log(workspace, number, code):
    (workspace / "temporary").mkdir()
    process = subprocess.Popen(
        [PROGRAM, "serve", "build/tiny", *FREE_PORTS],
        cwd=workspace,
        env=environment(TMPDIR=str(workspace / "temporary")),
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not any(log.stat().st_size for log in (workspace / "temporary").glob("onepath-server-*/server.log")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in errors) == (code, False)
    left = [path for path in (workspace / "temporary").rglob("*") if path.is_file()]
    assert [path for path in left if path.name != "server.log"] == []
    assert processes_with(str(workspace)) == []
