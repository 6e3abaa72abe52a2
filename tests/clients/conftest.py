"""One server for all the tests of this folder, and both clients of it."""

import json
from collections.abc import Iterator

import pytest

from onepath.clients import Client, HttpClient, PipelineClient
from tests.clients.triton import CARD, SLOW_S, Served, free_ports, running_triton, write_model


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    repository = tmp_path_factory.mktemp("repository")
    write_model(repository, "digits", card=json.dumps(CARD))
    write_model(repository, "slow", card=json.dumps(CARD), delay_s=SLOW_S)
    write_model(repository, "bare", card=None)
    with running_triton(repository, tmp_path_factory.mktemp("server"), free_ports()) as running:
        yield running


@pytest.fixture(params=["grpc", "http"])
def client(request: pytest.FixtureRequest, served: Served) -> Iterator[PipelineClient]:
    opened = Client(served.grpc) if request.param == "grpc" else HttpClient(served.http)
    with opened:
        yield opened


@pytest.fixture(params=["grpc", "http"])
def unreachable(request: pytest.FixtureRequest) -> Iterator[PipelineClient]:
    address = f"127.0.0.1:{free_ports()[0]}"
    opened = Client(address) if request.param == "grpc" else HttpClient(address)
    with opened:
        yield opened
