import errno
import importlib.util
import json
import marshal
import os
import struct
from pathlib import Path

import pytest

from onepath.contract.bundle import digest_line
from onepath.contract.digests import canonical_json, sha256_from_bytes
from onepath.contract.errors import BundleIntegrityError, ServerUnavailableError
from onepath.server import start_server, verify_repository
from tests.server.conftest import FREE_PORTS, digits_of

FILES = [
    "tiny/config.pbtxt",
    "tiny/1/manifest.json",
    "tiny/1/manifest.sha256",
    "tiny/1/probes.json",
    "tiny/1/deployment.json",
    "tiny/1/deployment.sha256",
    "tiny.ID.image/config.pbtxt",
    "tiny.ID.image/1/model.py",
    "tiny.ID.image/1/modality.json",
    "tiny.ID.image/warmup/payload",
    "tiny.ID.text/1/modality.json",
    "tiny.ID.graph/config.pbtxt",
    "tiny.ID.graph/1/model.onnx",
    "tiny.ID.graph/warmup/state",
]


def located(repository, bundle, name):
    return repository / name.replace("ID", digits_of(bundle))


def flip_bit(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_an_untouched_repository_passes(repository, bundle):
    (deployment,) = verify_repository(repository)
    assert (deployment.front_door, deployment.bundle_id) == ("tiny", bundle.id)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_refused_and_the_file_is_named(repository, bundle, name):
    path = located(repository, bundle, name)
    for position in {0, path.stat().st_size // 2, path.stat().st_size - 1}:
        flip_bit(path, position)
        with pytest.raises(BundleIntegrityError) as refused:
            verify_repository(repository)
        assert path.name in str(refused.value)
        assert path.parent.name in str(refused.value)
        flip_bit(path, position)
    verify_repository(repository)


@pytest.mark.parametrize("name", FILES)
def test_a_server_is_not_started_on_a_flipped_bit(repository, bundle, name):
    path = located(repository, bundle, name)
    flip_bit(path, 0)
    with pytest.raises(BundleIntegrityError, match=path.name.replace(".", r"\.")):
        start_server(repository, FREE_PORTS)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_and_named(repository, bundle, name):
    path = located(repository, bundle, name)
    path.unlink()
    with pytest.raises(BundleIntegrityError) as refused:
        verify_repository(repository)
    assert path.name in str(refused.value)


@pytest.mark.parametrize("folder", ["tiny/1", "tiny.ID.image/1", "tiny.ID.graph"])
def test_an_extra_file_is_refused_and_named(repository, bundle, folder):
    (located(repository, bundle, folder) / "extra.py").write_text("")
    with pytest.raises(BundleIntegrityError, match=r"extra\.py"):
        verify_repository(repository)


@pytest.mark.parametrize("folder", ["tiny/2", "tiny.ID.graph/2", "tiny.ID.image/1/sub/folder", "tiny.ID.text/1/a"])
def test_a_folder_without_a_file_is_refused_and_named(repository, bundle, folder):
    path = located(repository, bundle, folder)
    path.mkdir(parents=True)
    with pytest.raises(BundleIntegrityError, match="empty folder") as refused:
        verify_repository(repository)
    assert path.name in refused.value.path


@pytest.mark.parametrize("name", ["tiny/1/extra", "tiny.ID.image/1/extra", "tiny.ID.graph/1/extra"])
def test_a_pipe_is_refused_and_named(repository, bundle, name):
    os.mkfifo(located(repository, bundle, name))
    with pytest.raises(BundleIntegrityError, match="neither a file nor a folder") as refused:
        verify_repository(repository)
    assert refused.value.path.endswith("extra")


@pytest.mark.parametrize("name", ["tiny.ID.graph/1/model.onnx", "tiny.ID.image", "tiny/1/probes.json"])
def test_a_symbolic_link_is_refused_and_named(repository, bundle, tmp_path, name):
    path = located(repository, bundle, name)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleIntegrityError, match="symbolic link") as refused:
        verify_repository(repository)
    assert path.name in str(refused.value)


def test_a_missing_model_is_refused_and_named(repository, bundle, tmp_path):
    located(repository, bundle, "tiny.ID.text").rename(tmp_path / "elsewhere")
    with pytest.raises(BundleIntegrityError, match=rf"tiny\.{digits_of(bundle)}\.text"):
        verify_repository(repository)


def test_bytecode_that_python_wrote_beside_a_model_is_no_damage(repository, bundle):
    folder = located(repository, bundle, "tiny.ID.image/1/__pycache__")
    folder.mkdir()
    (folder / "model.cpython-311.pyc").write_bytes(b"compiled")
    verify_repository(repository)


@pytest.mark.parametrize("name", ["model.so", "other.cpython-311.pyc", "model.py"])
def test_anything_else_in_the_bytecode_folder_is_refused(repository, bundle, name):
    folder = located(repository, bundle, "tiny.ID.image/1/__pycache__")
    folder.mkdir()
    (folder / name).write_bytes(b"compiled")
    with pytest.raises(BundleIntegrityError) as refused:
        verify_repository(repository)
    assert refused.value.path == f"1/__pycache__/{name}"


@pytest.mark.parametrize("model", ["tiny.ID.graph", "tiny"])
def test_bytecode_beside_a_model_without_code_is_refused(repository, bundle, model):
    folder = located(repository, bundle, f"{model}/1/__pycache__")
    folder.mkdir()
    (folder / "model.cpython-311.pyc").write_bytes(b"compiled")
    with pytest.raises(BundleIntegrityError, match=r"model\.cpython-311\.pyc"):
        verify_repository(repository)


def test_a_server_does_not_run_bytecode_that_was_there_before(repository, bundle, tmp_path):
    source = located(repository, bundle, "tiny.ID.image/1/model.py")
    ran = tmp_path / "ran"
    code = compile(f"open({str(ran)!r}, 'w').close()\n{source.read_text()}", source, "exec")
    compiled = Path(importlib.util.cache_from_source(source))
    compiled.parent.mkdir()
    age = source.stat()
    header = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, int(age.st_mtime), age.st_size)
    compiled.write_bytes(header + marshal.dumps(code))
    with start_server(repository, FREE_PORTS):
        assert not ran.exists()


def test_a_server_is_not_started_where_bytecode_cannot_be_removed(repository, bundle, monkeypatch):
    folder = located(repository, bundle, "tiny.ID.image/1/__pycache__")
    folder.mkdir()
    (folder / "model.cpython-311.pyc").write_bytes(b"compiled")
    monkeypatch.setattr(os, "rmdir", read_only)
    monkeypatch.setattr(os, "unlink", read_only)
    with pytest.raises(ServerUnavailableError, match=r"cannot remove .*__pycache__.*deploy to a new repository"):
        start_server(repository, FREE_PORTS)


def read_only(path, **_):
    """Do what a read-only file system does, which even root cannot write to."""
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)


def test_a_graph_that_is_not_the_manifests_is_refused_even_where_the_record_was_rewritten(repository, bundle):
    graph = located(repository, bundle, "tiny.ID.graph/1/model.onnx")
    old = graph.read_bytes()
    new = old[:-1] + bytes([old[-1] ^ 1])
    graph.write_bytes(new)
    rewrite_record(repository, sha256_from_bytes(old), sha256_from_bytes(new))
    with pytest.raises(BundleIntegrityError, match=r"model\.onnx .* is not the file of bundle"):
        verify_repository(repository)


def test_a_manifest_of_another_bundle_is_refused(repository, bundle, other_bundle):
    for name in ("manifest.json", "manifest.sha256"):
        old, new = (Path(folder / name).read_bytes() for folder in (repository / "tiny" / "1", other_bundle.path))
        (repository / "tiny" / "1" / name).write_bytes(new)
        rewrite_record(repository, sha256_from_bytes(old), sha256_from_bytes(new))
    with pytest.raises(BundleIntegrityError, match=r"manifest\.json .* not that of the deployed bundle"):
        verify_repository(repository)


def rewrite_record(repository, old_digest, new_digest):
    """Make the record of the files agree with a changed one, as somebody would who means it."""
    folder = repository / "tiny" / "1"
    record = json.loads((folder / "deployment.json").read_text())
    for entry in record["files"].values():
        entry["sha256"] = entry["sha256"].replace(old_digest, new_digest)
    record = canonical_json(record)
    (folder / "deployment.json").write_bytes(record)
    (folder / "deployment.sha256").write_text(digest_line(sha256_from_bytes(record), "deployment.json"))


def test_a_repository_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BundleIntegrityError, match="deploy a bundle to it first"):
        verify_repository(tmp_path / "nowhere")
