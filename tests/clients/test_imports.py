"""What importing the clients costs: nothing that only a call, or only training, needs."""

import subprocess
import sys

import pytest

PROBE = "import sys, onepath.clients; print(*{name.partition('.')[0] for name in sys.modules})"


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    return set(subprocess.run([sys.executable, "-c", PROBE], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize(
    "name", ["tritonclient", "grpc", "gevent", "PIL", "torch", "onnx", "onnxruntime", "transformers"]
)
def test_importing_the_clients_loads_no(name: str, loaded: set[str]) -> None:
    assert name not in loaded


def test_importing_the_clients_loads_numpy(loaded: set[str]) -> None:
    assert "numpy" in loaded  # the probe does see what is loaded
