"""What serving and calling import, seen in a process where the heavy packages are refused."""

import subprocess
import sys

import pytest

TRAINING = ["torch", "onnx", "onnxscript", "transformers", "tensorrt", "safetensors", "sklearn", "matplotlib"]
DECODERS = ["PIL", "av", "soundfile", "soxr", "tokenizers", "onnxruntime", "pyarrow"]

REFUSING = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused!r}:
            raise ImportError(f"{{name}} is refused here")
sys.meta_path.insert(0, Refuse())
{statement}
loaded = sorted({{name.partition(".")[0] for name in sys.modules}} & set({refused!r}))
assert not loaded, loaded
"""


def run(statement: str, refused: list[str]) -> subprocess.CompletedProcess[str]:
    program = REFUSING.format(refused=refused, statement=statement)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "package",
    [
        *("contract", "contract.signatures", "modalities", "clients", "server", "server.launch", "server.repository"),
        *("scoring", "scoring.rerun", "tuning", "tuning.run", "cli"),
    ],
)
def test_the_serving_side_loads_no_training_package(package):
    done = run(f"import onepath.{package}", TRAINING)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["contract", "clients", "server", "scoring", "tuning", "modalities", "cli"])
def test_importing_loads_no_decoder_and_no_engine_either(package):
    done = run(f"import onepath.{package}", TRAINING + DECODERS)
    assert done.returncode == 0, done.stderr


def test_the_refusal_itself_works():
    done = run("import onepath.export.graphs.dispatch", TRAINING)
    assert "torch is refused here" in done.stderr


def test_importing_the_clients_loads_no_transport():
    program = (
        "import sys, onepath.clients; assert not {'grpc', 'gevent', 'tritonclient.grpc', 'tritonclient.http'} & "
        "set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_configures_no_logging_and_prints_nothing():
    program = (
        "import logging, onepath, onepath.clients, onepath.server, onepath.scoring, onepath.modalities;"
        "assert not logging.getLogger().handlers and not logging.getLogger('onepath').handlers"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
