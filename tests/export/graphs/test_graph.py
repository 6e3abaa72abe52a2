import numpy as np
import onnx
import onnxruntime as ort
import pytest

from onepath.export.graphs.dispatch import PresenceGraph
from onepath.export.graphs.exporter import onnx_file_from_graph
from tests.export import toy

SETTINGS = {"outputs": ["scores"], "opset": 20, "ir_version": 10}


def exported(model, path, **settings):
    graph = PresenceGraph(model, "classification").eval()
    return onnx_file_from_graph(graph, toy.SPECS, path=path, **(SETTINGS | settings))


@pytest.fixture(scope="module")
def model():
    return toy.seeded_model()


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    return exported(model, tmp_path_factory.mktemp("graph") / "model.onnx")


@pytest.fixture(scope="module")
def session(file):
    return ort.InferenceSession(str(file.path))


def run(session, values, states):
    feeds = {name: tensor.numpy() for name, tensor in values.items()}
    feeds |= {f"{name}_state": tensor.numpy() for name, tensor in states.items()}
    return dict(zip(["scores", "presence", "row_status"], session.run(None, feeds), strict=True))


@pytest.mark.parametrize("rows", [1, 2, 31, 32])
def test_the_graph_takes_any_number_of_rows_and_any_mix_of_states(model, session, rows):
    values, states = toy.inputs(rows, seed=rows)
    expected = toy.numpy_scores(model, values, states)
    assert np.abs(run(session, values, states)["scores"] - expected).max() < 1e-6


def test_the_graph_of_another_model_differs(session):
    values, states = toy.inputs(32)
    other = toy.numpy_scores(toy.seeded_model(seed=1), values, states)
    assert np.abs(run(session, values, states)["scores"] - other).max() > 1e-3


def test_inputs_and_outputs_have_the_agreed_names_and_types(session):
    inputs = {i.name: (i.type, i.shape) for i in session.get_inputs()}
    assert inputs == {
        "image": ("tensor(uint8)", ["rows", 2, 3]),
        "audio": ("tensor(int16)", ["rows", 4]),
        "image_state": ("tensor(uint8)", ["rows", 1]),
        "audio_state": ("tensor(uint8)", ["rows", 1]),
    }
    outputs = {o.name: (o.type, o.shape) for o in session.get_outputs()}
    assert outputs == {
        "scores": ("tensor(float)", ["rows", 3]),
        "presence": ("tensor(uint8)", ["rows", 2]),
        "row_status": ("tensor(uint8)", ["rows", 1]),
    }


def test_the_file_holds_no_path_of_the_machine_that_built_it(file):
    written = file.path.read_bytes()
    assert b"/home/" not in written
    assert b".py" not in written
    assert not onnx.load_from_string(written).graph.value_info


def test_the_versions_are_those_that_were_asked_for(file):
    read = file.model()
    assert read.ir_version == 10
    assert {entry.domain: entry.version for entry in read.opset_import} == {"": 20}


def test_weights_over_the_limit_are_beside_the_graph_and_it_answers_the_same(tmp_path):
    wide = toy.SumModel(classes=300).eval()
    beside = exported(wide, tmp_path / "wide.onnx", external_over_bytes=10)
    assert beside.paths == (tmp_path / "wide.onnx", tmp_path / "wide.onnx.data")
    values, states = toy.inputs(5)
    found = run(ort.InferenceSession(str(beside.path)), values, states)["scores"]
    assert np.abs(found - toy.numpy_scores(wide, values, states)).max() < 1e-6


def test_the_same_model_exports_to_the_same_bytes(model, file, tmp_path):
    assert exported(model, tmp_path / "again.onnx").path.read_bytes() == file.path.read_bytes()
