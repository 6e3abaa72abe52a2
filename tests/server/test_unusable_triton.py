"""A Triton that cannot be run is refused in words, and nothing of the attempt is left."""

import tempfile
import time
from pathlib import Path

import pytest

from onepath.contract.errors import ServerUnavailableError
from onepath.server import TritonInstallation, launch, start_server
from tests.server.conftest import FREE_PORTS


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def installation(tmp_path):
    """The files by which a native Triton is known; its program only says which flags it knows."""
    (tmp_path / "backends" / "python").mkdir(parents=True)
    binary = tmp_path / "bin" / "tritonserver"
    binary.parent.mkdir()
    binary.write_text("#!/bin/sh\necho --http-restricted-api --grpc-restricted-protocol\n")
    binary.chmod(0o755)
    return TritonInstallation(kind="native", binary=binary, backends=tmp_path / "backends")


def test_a_program_that_may_not_be_run_is_named(repository, installation, temporary):
    installation.binary.chmod(0o644)
    with pytest.raises(ServerUnavailableError, match=r"cannot start .*tritonserver: .*Permission denied.*may run it"):
        start_server(repository, FREE_PORTS, installation=installation)
    assert list(temporary.iterdir()) == []


def test_a_program_that_is_none_is_named(repository, installation, temporary):
    installation.binary.write_bytes(b"\x7fELF and no more")
    with pytest.raises(ServerUnavailableError, match=r"cannot start .*tritonserver: .*format error"):
        start_server(repository, FREE_PORTS, installation=installation)
    assert list(temporary.iterdir()) == []


def test_a_program_that_hangs_is_not_waited_for_for_ever(repository, installation, temporary, monkeypatch):
    installation.binary.write_text("#!/bin/sh\nexec sleep 20\n")
    monkeypatch.setattr(launch, "_HELP_TIMEOUT_S", 0.2)
    began = time.monotonic()
    with pytest.raises(ServerUnavailableError, match=r"cannot start .*timed out after 0\.2 seconds"):
        start_server(repository, FREE_PORTS, installation=installation)
    assert time.monotonic() - began < 10
    assert list(temporary.iterdir()) == []


def test_backends_that_are_gone_are_named(repository, installation, temporary):
    (installation.backends / "python").rmdir()
    installation.backends.rmdir()
    with pytest.raises(ServerUnavailableError, match=r"cannot start .*No such file or directory: .*backends"):
        start_server(repository, FREE_PORTS, installation=installation)
    assert list(temporary.iterdir()) == []


def test_a_log_that_cannot_be_written_is_named(repository, installation, temporary):
    log = Path(temporary) / "nowhere" / "server.log"
    with pytest.raises(ServerUnavailableError, match=r"No such file or directory: .*server\.log"):
        start_server(repository, FREE_PORTS.model_copy(update={"log_file": log}), installation=installation)
    assert list(temporary.iterdir()) == []
