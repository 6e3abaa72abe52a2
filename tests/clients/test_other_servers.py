"""Servers that are not Triton: one that speaks only the protocol's core, and ones that break off or dawdle."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from onepath.clients import HttpClient
from onepath.contract.errors import DeadlineExceededError, RequestError, ServerUnavailableError

METADATA = {
    "name": "digits",
    "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1, 1]}],
    "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 2]}],
}
ANSWER = {"outputs": [{"name": "scores", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]}]}


class CoreOnly(BaseHTTPRequestHandler):
    """Metadata and inference in JSON; no configuration, no list of models, no binary answers."""

    def do_GET(self) -> None:
        self._answer(METADATA if self.path == "/base/v2/models/digits" else None)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(ANSWER)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, content: object) -> None:
        body = json.dumps(content or {"error": f"no {self.path}"}).encode()
        self.send_response(200 if content else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def core_only() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), CoreOnly) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/base"
        server.shutdown()
        thread.join()


@contextmanager
def raw_server(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                talk(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_a_server_with_the_protocols_core_alone_is_enough(core_only: str) -> None:
    with HttpClient(core_only) as client:
        row = client.predict("digits", image=b"png")[0]
    assert (row.label, row.score, row.presence, row.ok) == ("1", 0.75, ("image",), True)


def test_a_server_that_lists_no_models_speaks_for_itself(core_only: str) -> None:
    with (
        HttpClient(core_only) as client,
        pytest.raises(RequestError, match="refused the request: no /base/v2/models/x"),
    ):
        client.predict("x", image=b"png")


def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one() -> None:
    def break_off(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")

    with (
        raw_server(break_off) as address,
        HttpClient(address) as client,
        pytest.raises(ServerUnavailableError, match="IncompleteRead"),
    ):
        client.pipeline("digits")


def test_an_answer_that_comes_byte_by_byte_is_given_up_at_the_deadline() -> None:
    def dawdle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(20):
            time.sleep(0.1)
            try:
                connection.sendall(b" ")
            except OSError:
                return

    started_s = time.monotonic()
    with (
        raw_server(dawdle) as address,
        HttpClient(address) as client,
        pytest.raises(DeadlineExceededError, match=r"within 0\.5 s"),
    ):
        client.pipeline("digits", timeout_s=0.5)
    assert time.monotonic() - started_s < 1.5


def test_without_pillow_an_array_is_answered_with_what_to_install() -> None:
    code = """
import sys
sys.modules["PIL"] = None  # as if it were not installed
import numpy
from onepath.clients.payloads import payload_from_value
from onepath.contract.errors import MissingExtraError
try:
    payload_from_value(numpy.zeros((2, 2), dtype=numpy.uint8), "image")
except MissingExtraError as error:
    print(error)
"""
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert 'pip install "onepath[serve]"' in printed
