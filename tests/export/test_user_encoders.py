"""Encoders as people write them: what torch's exporter stumbles over, and a served graph can do all the same."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everyone names it

from onepath.export.graphs.dispatch import PresenceGraph
from onepath.export.graphs.exporter import onnx_file_from_graph
from tests.export import toy


class AsWritten(nn.Module):
    """A branch for no rows, a norm of running statistics first of all, and a shape with a number left open."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.norm.running_mean.copy_(torch.tensor([1.0, -2.0, 3.0, 0.5]))
        self.norm.running_var.fill_(400.0)
        self.linear = nn.Linear(2, 3)

    def forward(self, values):
        if values.shape[0] == 0:
            return torch.zeros(0, 3)
        pairs = self.norm(values.float()).reshape(values.shape[0], -1, 2)
        return self.linear(pairs).mean(1)


class Masked(nn.Module):
    """Attention over the numbers of a row that are not zero, with a mask of bools; of 6 numbers as of 6 tokens."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(256, 8)
        self.projections = nn.Linear(8, 24)
        self.out = nn.Linear(8, 3)

    def forward(self, values):
        ids = values.flatten(1).long()
        query, key, value = (
            part.unflatten(2, (2, 4)).transpose(1, 2) for part in self.projections(self.tokens(ids)).chunk(3, -1)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=(ids != 0)[:, None, None, :])
        return self.out(mixed.transpose(1, 2).flatten(2)[:, 0])


@pytest.fixture(scope="module")
def graph():
    torch.manual_seed(0)
    model = toy.SumModel()
    model.encoders["audio"], model.encoders["image"] = AsWritten(), Masked()
    return PresenceGraph(model.eval(), "classification").eval()


@pytest.fixture(scope="module")
def file(graph, tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    return onnx_file_from_graph(graph, toy.SPECS, outputs=["scores"], opset=20, ir_version=10, path=path)


def scores(file, values, states):
    feeds = {name: tensor.numpy() for name, tensor in values.items()}
    feeds |= {f"{name}_state": tensor.numpy() for name, tensor in states.items()}
    return ort.InferenceSession(str(file.path)).run(["scores"], feeds)[0]


@pytest.mark.parametrize("present", [0, 1, 2, 5])
def test_the_graph_answers_as_torch_however_many_rows_are_present(graph, file, present):
    values, states = toy.inputs(6)
    values["image"][:, 1] = 0
    for state in states.values():
        state[:] = (torch.arange(6) < present)[:, None]
    with torch.inference_mode():
        expected = graph(values, states)["scores"].numpy()
    assert np.abs(scores(file, values, states) - expected).max() < 1e-6


def test_where_a_mask_leaves_nothing_attention_is_zero_as_in_torch(graph, file):
    values, states = toy.inputs(3)
    values["image"][:] = 0
    states["image"][:], states["audio"][:] = 1, 0
    bias = graph.model.encoders["image"].out.bias.detach()
    expected = torch.softmax(bias, -1).expand(3, 3).numpy()
    assert np.abs(scores(file, values, states) - expected).max() < 1e-6


def test_a_mask_of_bools_leaves_nothing_in_the_graph_that_depends_on_nan(file):
    assert "IsNaN" not in {node.op_type for node in file.model().graph.node}
