import os
from pathlib import Path

import pytest

from onepath.contract.errors import ServerUnavailableError
from onepath.server import find_triton, triton
from onepath.server.triton import assemble_backends, check_numpy, embedded_from_wheel, server_environment


def native_installation(root, *, backends=("python",)):
    """Make the files by which a native Triton is known."""
    (root / "bin").mkdir(parents=True)
    binary = root / "bin" / "tritonserver"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    for name in backends:
        (root / "backends" / name).mkdir(parents=True)
        (root / "backends" / name / f"libtriton_{name}.so").write_bytes(b"")
    return root


def test_the_wheels_server_is_found_where_there_is_no_native_one(tmp_path):
    found = find_triton(search_path=str(tmp_path), native_root=tmp_path)
    assert found.kind == "embedded"
    assert found.binary.is_file()
    assert found.stub.is_file()


def test_a_native_server_on_the_path_is_preferred(tmp_path):
    root = native_installation(tmp_path / "triton")
    found = find_triton(search_path=str(root / "bin"), native_root=tmp_path)
    assert (found.kind, found.binary, found.backends) == ("native", root / "bin" / "tritonserver", root / "backends")


def test_a_native_server_is_found_where_nvidias_containers_have_it(tmp_path):
    root = native_installation(tmp_path / "opt" / "tritonserver")
    assert find_triton(search_path=str(tmp_path), native_root=root).kind == "native"


def test_a_native_server_without_the_python_backend_is_refused_in_words(tmp_path):
    root = native_installation(tmp_path / "triton", backends=("onnxruntime",))
    with pytest.raises(ServerUnavailableError, match="has no Python backend"):
        find_triton(search_path=str(root / "bin"), native_root=tmp_path)


def test_no_server_at_all_says_what_was_looked_for_and_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(triton, "_WHEEL", "nvidia-pytriton-of-another-world")
    with pytest.raises(ServerUnavailableError) as refused:
        find_triton(search_path=str(tmp_path), native_root=tmp_path)
    message = str(refused.value)
    assert "tritonserver is not on PATH" in message
    assert f"{tmp_path}/bin/tritonserver" in message
    assert 'pip install "onepath[serve,embedded]"' in message


def test_an_incomplete_wheel_is_named_with_what_is_missing(tmp_path):
    with pytest.raises(
        ServerUnavailableError, match=r"bin/tritonserver is missing; it supports CPython 3\.10 to 3\.12"
    ):
        embedded_from_wheel(tmp_path / "pytriton")


@pytest.mark.parametrize("version", ["2.0.0", "2.3.1", "10.0"])
def test_numpy_2_is_refused_with_what_to_install(version):
    with pytest.raises(ServerUnavailableError, match=r'pip install "numpy>=1\.26,<2"'):
        check_numpy(version)


def test_numpy_1_is_accepted():
    check_numpy("1.26.4")


def test_the_embedded_backends_are_complete_and_not_links_into_the_wheel(tmp_path):
    backends = assemble_backends(find_triton(search_path="", native_root=tmp_path), tmp_path)
    python = backends / "python"
    assert {path.name for path in python.iterdir()} == {
        "libtriton_python.so",
        "triton_python_backend_stub",
        "triton_python_backend_utils.py",
    }
    assert os.access(python / "triton_python_backend_stub", os.X_OK)
    assert (backends / "onnxruntime" / "model.py").is_file()
    assert not any(path.is_symlink() for path in backends.rglob("*"))


def test_nvidias_onnxruntime_backend_is_used_where_it_is_there(tmp_path):
    root = native_installation(tmp_path / "triton", backends=("python", "onnxruntime"))
    found = find_triton(search_path=str(root / "bin"), native_root=tmp_path)
    assert assemble_backends(found, tmp_path) == root / "backends"


def test_onepaths_onnxruntime_backend_stands_in_for_nvidias(tmp_path):
    root = native_installation(tmp_path / "triton", backends=("python", "tensorrt"))
    backends = assemble_backends(find_triton(search_path=str(root / "bin"), native_root=tmp_path), tmp_path)
    assert sorted(path.name for path in backends.iterdir()) == ["onnxruntime", "python", "tensorrt"]
    assert (backends / "python").resolve() == root / "backends" / "python"
    assert (backends / "onnxruntime" / "model.py").is_file()


def test_the_server_runs_this_python_and_the_wheels_libraries(tmp_path):
    import sys

    found = find_triton(search_path="", native_root=tmp_path)
    environment = server_environment(found)
    assert environment["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    assert Path(environment["LD_LIBRARY_PATH"].split(":")[0]).name == "nvidia_pytriton.libs"
