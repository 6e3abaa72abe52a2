"""What serving needs of each modality's model: any number of rows, rows apart from each other, float64, ONNX."""

import copy

import numpy as np
import onnxruntime as ort
import pytest
import torch

from onepath.contract.tensors import TensorSpec
from onepath.export.bundles.single import SingleModality
from onepath.export.graphs.dispatch import PresenceGraph
from onepath.export.graphs.exporter import onnx_file_from_graph
from tests.merging.presets.small_presets import CLASSES, MAKERS, small_model, values_of

MODALITIES = sorted(MAKERS)


@pytest.fixture(params=MODALITIES)
def modality(request) -> str:
    return request.param


@torch.no_grad()
def test_no_rows_give_no_rows(modality) -> None:
    assert small_model(modality)(values_of(modality, 0)).shape == (0, CLASSES)


@torch.no_grad()
def test_a_row_alone_gives_what_it_gives_in_company(modality) -> None:
    model, values = small_model(modality).double(), values_of(modality, 5)
    torch.testing.assert_close(model(values[2:3]), model(values)[2:3], rtol=0, atol=1e-10)


@torch.no_grad()
def test_another_row_gives_something_else(modality) -> None:
    logits = small_model(modality)(values_of(modality, 2))
    assert (logits[0] - logits[1]).abs().max() > 1e-4


@torch.no_grad()
def test_float64_gives_what_float32_gives(modality) -> None:
    model, values = small_model(modality), values_of(modality, 3)
    wide = copy.deepcopy(model).double()(values)
    assert wide.dtype == torch.float64
    torch.testing.assert_close(model(values).double(), wide, rtol=0, atol=1e-4)


@torch.no_grad()
def test_onnx_runtime_gives_what_torch_gives_for_any_number_of_rows(modality, tmp_path) -> None:
    model, values = small_model(modality), values_of(modality, 5)
    model.blocks = model.blocks[:1]  # the others are alike
    dispatched = PresenceGraph(SingleModality(modality, model, CLASSES), "embedding").eval()
    spec = TensorSpec(name=modality, dtype=str(values.dtype).removeprefix("torch."), shape=tuple(values.shape[1:]))
    path = tmp_path / "model.onnx"
    onnx_file_from_graph(dispatched, [spec], outputs=["scores"], opset=20, ir_version=10, path=path)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for present in ([], [0], [1], [1, 0, 1, 1, 0]):
        states = np.array(present, np.uint8).reshape(-1, 1)
        rows = values[: len(present)]
        scores = session.run(["scores"], {modality: rows.numpy(), f"{modality}_state": states})[0]
        expected = np.where(states == 1, model(rows).numpy(), 0)
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)


def test_training_moves_every_parameter_that_is_not_frozen(modality) -> None:
    model, values = small_model(modality).train(), values_of(modality, 4)
    torch.manual_seed(0)
    loss = torch.nn.functional.cross_entropy(model(values), torch.arange(4))
    torch.autograd.backward(loss)
    still = [name for name, p in model.named_parameters() if p.requires_grad and not (p.grad != 0).any()]
    assert still == []
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == (["pos_embed"] if modality == "audio" else [])
