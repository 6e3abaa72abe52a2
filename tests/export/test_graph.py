import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.dispatch import PresenceGraph
from onepath.export.graph import onnx_from_graph
from tests.export import toy


def exported(model) -> bytes:
    graph = PresenceGraph(model, "classification").eval()
    return onnx_from_graph(graph, toy.SPECS, outputs=["scores"], opset=20, ir_version=10)


@pytest.fixture(scope="module")
def model():
    return toy.seeded_model()


@pytest.fixture(scope="module")
def onnx_bytes(model):
    return exported(model)


@pytest.fixture(scope="module")
def session(onnx_bytes):
    return ort.InferenceSession(onnx_bytes)


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


def test_the_file_holds_no_path_of_the_machine_that_built_it(onnx_bytes):
    assert b"/home/" not in onnx_bytes
    assert b".py" not in onnx_bytes
    assert not onnx.load_from_string(onnx_bytes).graph.value_info


def test_the_same_model_exports_to_the_same_bytes(model, onnx_bytes):
    assert exported(model) == onnx_bytes


def test_an_fft_is_refused_by_name():
    class Spectral(toy.SumModel):
        def __init__(self):
            super().__init__()
            self.encoders["audio"] = _Fft()

    class _Fft(nn.Module):
        def forward(self, values):
            return torch.fft.rfft(values.float()).real

    with pytest.raises(UnsupportedModuleError, match=r"DFT.*matrix products"):
        exported(Spectral().eval())


def test_a_model_that_torch_cannot_export_says_why():
    class Branching(toy.SumModel):
        def fuse(self, features, present):
            if present.any():
                return super().fuse(features, present)
            return {"scores": features["image"]}

    with pytest.raises(UnsupportedModuleError, match="cannot use the model for ONNX"):
        exported(Branching().eval())
