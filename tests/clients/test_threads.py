"""One client, many threads; and a client that outlives its server."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from onepath.clients import Client, HttpClient, PipelineClient
from onepath.contract.errors import OnepathError
from tests.clients.triton import CARD, free_ports, running_triton, write_model


def test_threads_that_share_a_client_get_their_own_answers(client: PipelineClient) -> None:
    def sizes(length: int) -> list[float]:
        return [row.outputs["embedding"][2] for row in client.predict("digits", text=["x" * length] * 6)]

    lengths = [1 + number % 50 for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(sizes, lengths)) == [[length] * 6 for length in lengths]


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_a_client_goes_on_after_its_server_restarted(transport: str, tmp_path: Path) -> None:
    repository, ports = tmp_path / "repository", free_ports()
    write_model(repository, "digits", card=json.dumps(CARD))
    workspaces = [tmp_path / "first", tmp_path / "second"]
    for workspace in workspaces:
        workspace.mkdir()
    with running_triton(repository, workspaces[0], ports) as served:
        client = Client(served.grpc) if transport == "grpc" else HttpClient(served.http)
        assert client.predict("digits", text=["seven"])[0].label == "two"
    with client:
        with pytest.raises(OnepathError):
            client.predict("digits", text=["seven"], timeout_s=5)
        with running_triton(repository, workspaces[1], ports):
            assert _label_in_the_end(client) == "two"


def _label_in_the_end(client: PipelineClient) -> str | None:
    give_up_s = time.monotonic() + 20
    while not client.ready(timeout_s=5) and time.monotonic() < give_up_s:
        time.sleep(0.1)  # gRPC waits up to 2 s before it connects again
    return client.predict("digits", text=["seven"])[0].label
