"""A real Triton server for models of the wire contract, as deployed, slow, or without a card."""

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from onepath.server.ports import choose_ports
from onepath.server.process import ServerProcess
from onepath.server.triton import assemble_backends, find_triton, server_environment

SERVED = Path(__file__).parent / "served"
SLOW_S = 1.0
MAX_BATCH_SIZE = 4
BUNDLE_ID = "3f9c" * 16
CARD = {
    "bundle_id": BUNDLE_ID,
    "task": "classification",
    "labels": ["zero", "one", "two"],
    "modalities": [
        {"name": "image", "kind": "image"},
        {"name": "audio", "kind": "audio"},
        {"name": "text", "kind": "text"},
    ],
    "outputs": ["scores", "embedding"],
    "max_batch_size": MAX_BATCH_SIZE,
}


@dataclass(frozen=True)
class Served:
    grpc: str
    http: str


def write_model(repository: Path, name: str, *, card: str | None, delay_s: float = 0.0) -> None:
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    shutil.copy(SERVED / "model.py", folder / "1")
    parameters = {"delay_s": str(delay_s)} | ({} if card is None else {"onepath": card})
    lines = [
        f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(text)} }} }}'
        for key, text in parameters.items()
    ]
    (folder / "config.pbtxt").write_text((SERVED / "config.pbtxt").read_text() + "\n".join(lines) + "\n")


@contextmanager
def running_triton(repository: Path, workspace: Path, ports: list[int]) -> Iterator[Served]:
    installation = find_triton()
    grpc_port, http_port = ports
    models = [path.name for path in repository.iterdir()]
    command = [
        str(installation.binary),
        f"--model-repository={repository}",
        f"--backend-directory={assemble_backends(installation, workspace)}",
        f"--backend-config=python,shm-region-prefix-name=clients{grpc_port}",
        "--model-control-mode=explicit",
        *(f"--load-model={name}" for name in models),
        *("--grpc-address=127.0.0.1", "--http-address=127.0.0.1", "--allow-metrics=false"),
        *(f"--grpc-port={grpc_port}", f"--http-port={http_port}"),
        "--http-restricted-api=model-repository:admin=secret",
        "--grpc-restricted-protocol=model-repository:admin=secret",
        "--exit-timeout-secs=1",  # it waits that long for HTTP connections that are kept open
    ]
    process = ServerProcess(command, server_environment(installation), workspace / "server.log")
    try:
        _wait_until_ready(f"http://127.0.0.1:{http_port}/v2/health/ready", process)
        yield Served(grpc=f"127.0.0.1:{grpc_port}", http=f"127.0.0.1:{http_port}")
    finally:
        process.end(10.0)


def free_ports() -> list[int]:
    return choose_ports("127.0.0.1", (None, None))


def _wait_until_ready(url: str, process: ServerProcess) -> None:
    give_up_s = time.monotonic() + 60
    while time.monotonic() < give_up_s and process.running:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"the server did not start:\n{process.log.read_text()[-2000:]}")
