"""The tracked model repository: small, whole, and refused as soon as one bit of it is another."""

import subprocess

import pytest

from onepath.server.verification import verify_repository
from tests.endtoend.conftest import PROGRAM, RELEASED


def tracked_files():
    return sorted(path for path in RELEASED.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def test_it_holds_the_digits_in_at_most_4_mb():
    assert [deployment.front_door for deployment in verify_repository(RELEASED)] == ["digits"]
    assert sum(path.stat().st_size for path in tracked_files()) <= 4_000_000


def test_it_passes_its_own_probes(server):
    (report,) = server.reports
    assert report.rows >= 7
    assert report.max_abs_error <= report.tolerance


def flip_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("name", [str(path.relative_to(RELEASED)) for path in tracked_files()])
def test_one_flipped_bit_of_any_file_is_refused_by_name(repository_copy, name):
    flip_bit(repository_copy / name)
    done = subprocess.run([PROGRAM, "verify", repository_copy], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert name.rpartition("/")[2] in done.stderr


def test_serve_refuses_a_repository_with_one_flipped_bit(repository_copy):
    (graph,) = repository_copy.glob("digits.*.graph/1/model.onnx")
    flip_bit(graph)
    command = [PROGRAM, "serve", repository_copy, "--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "model.onnx" in done.stderr
    assert "Traceback" not in done.stderr
