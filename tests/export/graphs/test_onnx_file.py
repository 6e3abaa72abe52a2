import hashlib

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from onepath.export.graphs.onnx_file import OnnxFile, onnx_file_from_model, weight_bytes

GRAPH = """
<ir_version: 10, opset_import: ["": 20], producer_name: "tests">
scale (float[rows, 512] x) => (float[rows, 512] y)
<int64[1] axes = {1}>
{
    sums = ReduceSum (x, axes)
    scaled = Mul (x, weight)
    y = Add (scaled, sums)
}
"""
WEIGHT = np.linspace(-1, 1, 512).astype(np.float32)
ROWS = np.arange(1024, dtype=np.float32).reshape(2, 512)


def model(weight=WEIGHT) -> onnx.ModelProto:
    parsed = onnx.parser.parse_model(GRAPH)
    parsed.graph.initializer.append(onnx.numpy_helper.from_array(weight, "weight"))
    return parsed


def answer(file: OnnxFile) -> np.ndarray:
    return ort.InferenceSession(str(file.path)).run(None, {"x": ROWS})[0]


@pytest.fixture
def beside(tmp_path):
    return onnx_file_from_model(model(), tmp_path / "model.onnx", external_over_bytes=2047)


def test_weights_under_the_limit_are_inside_the_graph(tmp_path):
    file = onnx_file_from_model(model(), tmp_path / "model.onnx", external_over_bytes=2056)
    assert file.paths == (tmp_path / "model.onnx",)
    assert np.allclose(answer(file), ROWS * WEIGHT + ROWS.sum(1, keepdims=True))


def test_weights_over_the_limit_are_beside_the_graph_under_a_relative_name(beside, tmp_path):
    assert beside.paths == (tmp_path / "model.onnx", tmp_path / "model.onnx.data")
    stored = onnx.load(beside.path, load_external_data=False).graph.initializer
    places = {tensor.name: {entry.key: entry.value for entry in tensor.external_data} for tensor in stored}
    assert places == {"weight": {"location": "model.onnx.data", "offset": "0", "length": "2048"}, "axes": {}}


def test_the_file_of_weights_holds_their_bytes(beside):
    assert np.array_equal(np.frombuffer(beside.data_path.read_bytes(), np.float32), WEIGHT)


def test_a_graph_with_weights_beside_it_runs_from_its_path(beside):
    assert np.allclose(answer(beside), ROWS * WEIGHT + ROWS.sum(1, keepdims=True))


def test_the_digest_covers_both_files(beside):
    parts = [hashlib.sha256(path.read_bytes()).hexdigest() for path in beside.paths]
    before = hashlib.sha256("".join(parts).encode()).hexdigest()
    assert beside.digest == before
    data = bytearray(beside.data_path.read_bytes())
    data[100] ^= 1
    beside.data_path.write_bytes(data)
    assert beside.digest != before


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_the_same_graph_gives_the_same_bytes(tmp_path, limit):
    for name in "ab":
        (tmp_path / name).mkdir()
    files = [onnx_file_from_model(model(), tmp_path / name / "m.onnx", external_over_bytes=limit) for name in "ab"]
    assert [path.read_bytes() for path in files[0].paths] == [path.read_bytes() for path in files[1].paths]


def test_the_model_that_is_written_is_left_as_it_is(tmp_path):
    written = model()
    onnx_file_from_model(written, tmp_path / "model.onnx", external_over_bytes=0)
    assert written == model()


def test_a_graph_read_from_disk_can_be_written_with_its_weights_inside(beside, tmp_path):
    inside = onnx_file_from_model(beside.lazy_model(), tmp_path / "other.onnx")
    assert inside.data_path is None
    assert np.array_equal(answer(inside), answer(beside))


def test_the_weights_of_a_graph_that_was_there_are_not_left_over(beside):
    file = onnx_file_from_model(model(-WEIGHT), beside.path)
    assert file.paths == (beside.path,)
    assert np.allclose(answer(file), ROWS.sum(1, keepdims=True) - ROWS * WEIGHT)


def test_the_bytes_of_weights_are_those_of_all_of_them(beside):
    assert weight_bytes(beside.lazy_model()) == 512 * 4 + 8
