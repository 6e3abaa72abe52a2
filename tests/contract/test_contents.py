"""What a bundle may hold and how its files may be named, whatever its digests say."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.numpy
from onnx import TensorProto, helper

from onepath.contract.bundle import MANIFEST, MANIFEST_DIGEST, open_bundle
from onepath.contract.digests import canonical_json, sha256_from_bytes
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.weight_files import weight_tensors
from tests.contract import small_bundle

WEIGHTS, GRAPH = "weights/model.safetensors", "graphs/model.onnx"


@pytest.fixture
def path(tmp_path):
    return small_bundle.write(tmp_path / "small")


def put(path, files):
    """Write files into a bundle as someone would who corrects every digest."""
    raw = json.loads((path / MANIFEST).read_text())
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
        raw["files"][name] = {"sha256": sha256_from_bytes(data), "size_bytes": len(data)}
    for proof, name in zip(raw["proofs"], (WEIGHTS, GRAPH), strict=True):
        proof["writes"] = raw["files"][name]["sha256"]
    raw["proofs"][1]["reads"] = raw["proofs"][0]["writes"]
    small_bundle.write_manifest(path, canonical_json(raw))


def refusal(path):
    with pytest.raises(BundleIntegrityError) as refused:
        open_bundle(path)
    return str(refused.value)


def graph(*tensors):
    """Return an ONNX graph with some initialisers."""
    return helper.make_model(helper.make_graph([], "g", [], [], list(tensors)), ir_version=10)


def outside(location, name="w"):
    """Return a tensor that lies in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def test_files_of_known_kinds_with_right_digests_are_accepted(path):
    weights = safetensors.numpy.save({"a": np.eye(3, dtype=np.float32), "b": np.zeros(0, np.int64)}, {"by": "a test"})
    put(path, {WEIGHTS: weights, GRAPH: graph().SerializeToString(), "reports/a.json": b"{}", "assets/text/v.txt": b""})
    assert len(open_bundle(path).manifest.files) == 5


@pytest.mark.parametrize("name", ["model.pt", "model.PTH", "model.bin", "model.pkl", "x.npy", "x.ckpt", "x.joblib"])
def test_what_may_be_a_pickle_is_refused_by_its_name(path, name):
    put(path, {f"weights/{name}": b"harmless"})
    assert f"weights/{name}" in refusal(path)
    assert "can hold a pickle" in refusal(path)


def test_a_graph_in_onnx_runtimes_own_format_is_refused(path):
    put(path, {"graphs/model.ort": b"harmless"})
    assert "in ONNX Runtime's own format" in refusal(path)


def torch_zip():
    """Return what torch.save writes: a zip with a pickle in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({"weight": [1.0]}))
    return buffer.getvalue()


def safetensors_file(header, size=8, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + bytes(size)


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
NOT_SAFETENSORS = {
    "a pickle": pickle.dumps({"weight": 1}),
    "a zip of torch": torch_zip(),
    "nothing": b"",
    "seven bytes": bytes(7),
    "a header that is longer than the file": safetensors_file({"a": F32}, length=1 << 40),
    "a header that is no JSON": safetensors_file(b"{]"),
    "a header that is a list": safetensors_file([F32]),
    "a tensor twice": safetensors_file(b'{"a":%s,"a":%s}' % ((json.dumps(F32).encode(),) * 2)),
    "an unknown field": safetensors_file({"a": F32 | {"code": "import os"}}),
    "an unknown type": safetensors_file({"a": F32 | {"dtype": "PICKLE"}}),
    "a shape that does not fit": safetensors_file({"a": F32 | {"shape": [3]}}),
    "a negative shape": safetensors_file({"a": F32 | {"shape": [-1, -2]}}),
    "offsets backwards": safetensors_file({"a": F32 | {"shape": [0], "data_offsets": [8, 0]}}),
    "bytes of no tensor in front": safetensors_file({"a": F32 | {"data_offsets": [4, 12]}}, size=12),
    "bytes of no tensor behind": safetensors_file({"a": F32}, size=12),
    "bytes that are missing": safetensors_file({"a": F32}, size=4),
    "two tensors in one place": safetensors_file({"a": F32, "b": F32}),
    "metadata that are no text": safetensors_file({"a": F32, "__metadata__": {"n": 1}}),
}


@pytest.mark.parametrize("data", NOT_SAFETENSORS.values(), ids=NOT_SAFETENSORS)
def test_weights_that_are_no_safetensors_are_refused_with_right_digests(path, data):
    put(path, {WEIGHTS: data})
    assert f"{WEIGHTS} in {path} is not safetensors that can be trusted" in refusal(path)


def test_weights_must_be_named_as_what_they_are(path):
    raw = json.loads((path / MANIFEST).read_text())
    raw["weights"] = "weights/model.dat"
    raw["files"]["weights/model.dat"] = raw["files"].pop(WEIGHTS)
    (path / WEIGHTS).rename(path / "weights/model.dat")
    small_bundle.write_manifest(path, canonical_json(raw))
    assert "is not a .safetensors file" in refusal(path)


def test_the_header_of_safetensors_is_read_as_their_library_reads_it(tmp_path):
    tensors = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array([True]), "c": np.ones((), np.float64)}
    file = tmp_path / "x.safetensors"
    file.write_bytes(safetensors.numpy.save(tensors))
    data = file.read_bytes()
    found = {tensor.name: data[tensor.start :][: tensor.size_bytes] for tensor in weight_tensors(file)}
    assert found == {name: array.tobytes() for name, array in tensors.items()}


@pytest.mark.parametrize(
    "location",
    ["../secret", "/etc/passwd", "other.data", "a/../../b", "", "*/_ORT_MEM_ADDR_/*", "..\\x", "probes.json"],
)
def test_a_graph_that_would_read_another_file_is_refused_with_right_digests(path, location):
    put(path, {GRAPH: graph(outside(location)).SerializeToString()})
    assert f"it would read {location!r}" in refusal(path)


def test_a_graph_may_read_its_own_file_of_weights_beside_it(path):
    reader = graph(outside("other.onnx.data")).SerializeToString()
    put(path, {"graphs/other.onnx": reader, "graphs/other.onnx.data": bytes(4)})
    open_bundle(path)
    put(path, {"graphs/third.onnx": reader})
    assert "third.onnx" in refusal(path)


def test_a_graph_that_would_load_an_engine_from_a_file_is_refused(path):
    node = helper.make_node("EPContext", [], [], domain="com.microsoft", ep_cache_context="../engine")
    put(path, {GRAPH: helper.make_model(helper.make_graph([node], "g", [], [])).SerializeToString()})
    assert "EPContext" in refusal(path)


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"graph", b"\x3a\xff", b"\x08\x0a", small_bundle.GRAPH * 2, b"ORTM" * 9]
)
def test_a_file_that_is_no_onnx_graph_is_refused(path, data):
    put(path, {GRAPH: data})
    assert f"{GRAPH} in {path} is not ONNX that can be trusted" in refusal(path)


BAD_NAMES = {
    "reports\\a.json": "backslash",
    "C:/a.json": "colon",
    "reports//a.json": "empty part",
    "./a.json": "empty part",
    "reports/a.json.": "ends in a dot",
    "reports/a.json ": "ends in a dot or a space",
    "reports/a\n.json": "not printable",
    "reports/u\u0308.json": "not normalised",
    "reports/..": "outside the folder",
    "": "empty part",
    "assets/aux.json": "device of Windows",
    "NUL/a.json": "device of Windows",
    "reports/" + "é" * 128: "part of more than 255 bytes",
    "a/" * 100_000 + "b": "more than 1000 characters",
}


@pytest.mark.parametrize(("name", "told"), BAD_NAMES.items(), ids=[name[:20] for name in BAD_NAMES])
def test_a_name_that_means_something_else_elsewhere_is_refused(path, name, told):
    raw = json.loads((path / MANIFEST).read_text())
    raw["files"][name] = raw["files"]["probes.json"]
    small_bundle.write_manifest(path, canonical_json(raw))
    assert told in refusal(path)
    assert len(refusal(path)) < 500 + len(str(path))


@pytest.mark.parametrize("name", ["Probes.json", "GRAPHS/model.onnx", "graphs/MODEL.onnx", "MANIFEST.json"])
def test_names_that_differ_in_case_alone_are_refused(path, name):
    put(path, {name: b"{}"})
    assert "where upper and lower case are one" in refusal(path)


@pytest.mark.parametrize("name", [MANIFEST, MANIFEST_DIGEST, "manifest.sig"])
def test_a_manifest_does_not_list_its_own_files(path, name):
    raw = json.loads((path / MANIFEST).read_text())
    raw["files"][name] = raw["files"]["probes.json"]
    small_bundle.write_manifest(path, canonical_json(raw))
    assert "is listed as a file of its own manifest" in refusal(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"name": "small"', '"name": "small", "name": "other"'),
        lambda text: text.replace('"error": 0.0', '"error": 0.5, "error": 0.0', 1),
        lambda text: text.replace('"details": {}', '"details": {"x": NaN}'),
        lambda text: text.replace('"details": {}', '"details": {"x": 1e999}'),
        lambda text: text.replace('"details": {}', '"details": ' + "[" * 5000 + "]" * 5000),
        lambda text: "\ufeff" + text,
    ],
    ids=["key twice", "inner key twice", "NaN", "infinite", "deep", "mark in front"],
)
def test_a_manifest_that_two_parsers_could_read_differently_is_refused(path, change):
    text = (path / MANIFEST).read_text()
    assert change(text) != text
    small_bundle.write_manifest(path, change(text).encode())
    assert "not a valid manifest" in refusal(path)


def test_a_manifest_in_another_encoding_than_utf8_is_refused(path):
    small_bundle.write_manifest(path, (path / MANIFEST).read_text().encode("utf-16"))
    assert "not a valid manifest" in refusal(path)


@pytest.mark.parametrize("name", [MANIFEST, MANIFEST_DIGEST])
def test_a_manifest_of_any_size_is_not_read(path, name):
    os.truncate(path / name, 1 << 40)  # sparse
    assert f"{name} in {path} has more than 16777216 bytes" in refusal(path)


def test_a_link_to_the_folder_of_a_bundle_is_followed_once(path, tmp_path):
    (tmp_path / "current").symlink_to(path)
    assert open_bundle(tmp_path / "current").path == path.resolve()


def test_a_link_to_a_folder_inside_a_bundle_is_refused(path, tmp_path):
    (path / "graphs").rename(tmp_path / "graphs")
    (path / "graphs").symlink_to(tmp_path / "graphs")
    assert "graphs" in refusal(path)
    assert "symbolic link" in refusal(path)
