import http.client
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from onepath.contract.errors import BundleIntegrityError, ServerUnavailableError
from onepath.server import ServerSettings, deploy, start_server
from tests.server.bundles import scores, write_bundle
from tests.server.calls import ask_grpc, columns, wait_until
from tests.server.conftest import FREE_PORTS, ONE_EACH, digits_of

QUICK = FREE_PORTS.model_copy(update={"drain_timeout_s": 5.0})


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def descendants(pid):
    """Return the processes that a server has started: their parent or their group is it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            _, parent, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
        except FileNotFoundError:
            continue
        if pid in (int(parent), int(group)):
            found.append(int(folder.name))
    return found


def test_probes_that_are_not_met_keep_a_server_from_becoming_ready(tmp_path):
    deploy(write_bundle(tmp_path / "bundle", probe_offset=1e-3), tmp_path / "repository", ONE_EACH)
    log = tmp_path / "server.log"
    before = descendants(os.getpid())
    with pytest.raises(ServerUnavailableError, match=r"probe 0 \(image\) is off by 0\.001, over 1e-05") as refused:
        start_server(tmp_path / "repository", QUICK.model_copy(update={"log_file": log}))
    assert str(log) in str(refused.value)
    assert "Started GRPCInferenceService" in log.read_text()
    assert set(descendants(os.getpid())) <= set(before)


def test_a_pipeline_that_cannot_load_is_reported_with_tritons_own_reason(bundle, tmp_path):
    deploy(bundle, tmp_path, ONE_EACH.model_copy(update={"kind": "gpu"}))
    with pytest.raises(ServerUnavailableError, match=r"ended while starting.*(GPU|CUDA|cuda|gpu)") as refused:
        start_server(tmp_path, QUICK)
    log = Path(str(refused.value).rpartition("log is ")[2].rstrip(")"))
    assert log.is_file()


def test_a_server_that_takes_too_long_is_ended(repository):
    before = descendants(os.getpid())
    with pytest.raises(ServerUnavailableError, match=r"was not ready within 0\.01 s"):
        start_server(repository, QUICK.model_copy(update={"start_timeout_s": 0.01}))
    assert set(descendants(os.getpid())) <= set(before)


def test_an_empty_repository_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(ServerUnavailableError, match="holds no pipeline to serve; deploy"):
        start_server(tmp_path, QUICK)


def test_a_port_in_use_is_named(repository):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerUnavailableError, match=f"cannot listen on 127.0.0.1 port {port}"):
            start_server(repository, QUICK.model_copy(update={"grpc_port": port}))


@pytest.fixture(scope="module")
def drained(bundle, tmp_path_factory):
    """What became of a server, its processes and its requests when it was drained in the middle of one."""
    repository = tmp_path_factory.mktemp("drained")
    deploy(bundle, repository, ONE_EACH.model_copy(update={"max_queue_delay_us": 500_000}))
    server = start_server(repository, FREE_PORTS)  # a lone request waits a second for company
    stubs, seen = children(server.pid), {}
    with ThreadPoolExecutor(2) as callers:
        answer = callers.submit(ask_grpc, server, columns([{"level": 51}]))
        time.sleep(0.3)
        seen["answered before"] = answer.done()
        draining = callers.submit(server.drain)
        time.sleep(0.2)
        try:
            ask_grpc(server, columns([{"level": 51}]))
        except InferenceServerException as error:
            seen["refusal"] = error.message()
        seen |= {"scores": answer.result()["scores"], "unforced": draining.result()}
    return seen | {"server": server, "stubs": stubs}


def test_draining_finishes_the_requests_in_flight(drained):
    assert not drained["answered before"]
    np.testing.assert_allclose(drained["scores"][0], scores(level=51), atol=1e-6)


def test_draining_accepts_no_new_request(drained):
    assert "no available versions" in drained["refusal"]


def test_draining_ends_every_process_and_leaves_no_file(drained):
    assert drained["unforced"]
    assert not drained["server"].running
    wait_until(lambda: not any(map(is_alive, drained["stubs"])))
    assert not drained["server"].log_file.parent.exists()


def test_a_server_with_a_dead_python_process_still_ends_within_its_bound(repository):
    server = start_server(repository, QUICK.model_copy(update={"drain_timeout_s": 1.0}))
    stubs = children(server.pid)
    os.kill(stubs[0], signal.SIGKILL)
    began = time.monotonic()
    server.drain(timeout_s=1.0)
    assert time.monotonic() - began < 10
    wait_until(lambda: not any(map(is_alive, stubs)))


def test_a_killed_server_leaves_its_log_and_nothing_in_shared_memory(repository):
    server = start_server(repository, QUICK)
    prefix = server.log_file.parent.name
    assert list(Path("/dev/shm").glob(f"{prefix}*"))
    os.kill(server.pid, signal.SIGKILL)
    with server, pytest.raises(ServerUnavailableError, match="ended by itself with code -9"):
        server.wait()
    assert server.log_file.is_file(), "the log of a server that failed is kept"
    assert not list(Path("/dev/shm").glob(f"{prefix}*"))


def test_a_repository_that_was_served_can_be_served_again(repository, bundle):
    for _ in range(2):
        with start_server(repository, QUICK) as server:
            assert ask_grpc(server, columns([{"text": "a"}]))["row_status"].tolist() == [[0]]
    with (repository / f"tiny.{digits_of(bundle)}.graph" / "1" / "model.onnx").open("ab") as graph:
        graph.write(b"\0")
    with pytest.raises(BundleIntegrityError, match=r"model\.onnx"):
        start_server(repository, QUICK)


PARENT = """
    import sys
    from pathlib import Path
    from onepath.server import ServerSettings, start_server

    if __name__ == "__main__":
        server = start_server(
            Path(sys.argv[1]), ServerSettings(grpc_port=None, http_port=None, metrics_port=None, drain_timeout_s=5)
        )
        print(server.pid, server.http_address, flush=True)
        with server:
            server.wait()
        print("drained", flush=True)
"""


@pytest.fixture
def parent(repository):
    """A process of its own that has started a server and waits."""
    command = [sys.executable, "-c", textwrap.dedent(PARENT), str(repository)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        pid, process.http_address = process.stdout.readline().split()
        process.server_pid = int(pid)
        yield process
        process.kill()


def test_no_server_survives_the_kill_of_the_process_that_started_it(parent):
    stubs = children(parent.server_pid)
    assert stubs
    parent.kill()
    wait_until(lambda: not any(map(is_alive, [parent.server_pid, *stubs])))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_and_ctrl_c_drain_the_server(parent, number):
    assert answers(parent.http_address)
    wait_until(lambda: handles(parent.pid, signal.SIGTERM))
    parent.send_signal(number)
    assert parent.wait(timeout=20) == 0
    assert parent.stdout.read() == "drained\n"
    assert not is_alive(parent.server_pid)


def handles(pid, number):
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def answers(address):
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    finally:
        connection.close()


def test_a_server_outlives_the_thread_that_started_it(repository):
    started = []
    thread = threading.Thread(target=lambda: started.append(start_server(repository, QUICK)))
    thread.start()
    thread.join()
    (server,) = started
    time.sleep(0.5)
    with server:
        assert answers(server.http_address)


def test_a_server_listens_on_loopback_only_unless_told_otherwise():
    assert ServerSettings().host == "127.0.0.1"
