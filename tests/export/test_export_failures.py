"""Encoders that torch or the engines cannot take: the message says which, on which line, why, and what to do.

Each line that must be named ends with a comment that begins with `wrong:`.
"""

from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.diagnosis.causes import cause_in_words
from onepath.export.diagnosis.element_types import Origin, check_file
from onepath.export.diagnosis.lines import SourceLine
from onepath.export.graphs.dispatch import PresenceGraph
from onepath.export.graphs.exporter import onnx_file_from_graph
from tests.export import toy


class ByValue(nn.Module):
    def forward(self, values):
        if values.float().sum() > 0:  # wrong: values
            return values.float() * 2
        return values.float()


class RowByRow(nn.Module):
    def forward(self, values):
        return torch.stack([row * 2 for row in values.float()])  # wrong: rows


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, values):
        self.seen += values.shape[0]  # wrong: buffer
        return values.float() + self.seen


class Decomposed(nn.Module):
    def forward(self, values):
        outer = values.float()[:, :, None] @ values.float()[:, None, :]
        return torch.linalg.svd(outer)[1]  # wrong: operation


class Spectral(nn.Module):
    def forward(self, values):
        return torch.fft.fft(values.float()).abs()  # wrong: fourier


class OwnStatistics(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, values):
        return self.norm.train()(values.float())  # wrong: statistics


class TooWide(nn.Module):
    def forward(self, values):
        return values.float() @ torch.ones(7, 4)  # wrong: shape


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(1, 4, batch_first=True)

    def forward(self, values):
        return self.rnn(values.float()[:, :, None])[0][:, -1]  # wrong: steps


def line_of(mark: str) -> str:
    lines = Path(__file__).read_text().splitlines()
    (number,) = (index for index, line in enumerate(lines, 1) if line.endswith(f"# wrong: {mark}"))
    return f"{Path(__file__)}:{number}, `{lines[number - 1].strip()}`"


def refusal(encoder: nn.Module, path: Path) -> str:
    model = toy.SumModel().eval()
    model.encoders["audio"] = nn.Sequential(nn.Identity(), encoder, nn.Linear(4, 3)).eval()
    graph = PresenceGraph(model, "classification").eval()
    with pytest.raises(UnsupportedModuleError) as caught:
        onnx_file_from_graph(graph, toy.SPECS, outputs=["scores"], opset=20, ir_version=10, path=path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("encoder", "mark", "part", "reason", "advice"),
    [
        (ByValue, "values", "1 (tests.export.test_export_failures.ByValue)", "the values of a tensor", "torch.where"),
        (RowByRow, "rows", "1 (tests.export.test_export_failures.RowByRow)", "the number of rows", "all rows at once"),
        (
            Counting,
            "buffer",
            "1 (tests.export.test_export_failures.Counting)",
            "changes a buffer",
            "make it a constant",
        ),
        (Decomposed, "operation", "1 (tests.export.test_export_failures.Decomposed)", "_linalg_svd", "that ONNX has"),
        (Spectral, "fourier", "1 (tests.export.test_export_failures.Spectral)", "DFT", "real matrix products"),
        (OwnStatistics, "statistics", "1.norm (torch.nn.modules.batchnorm.BatchNorm1d)", "of the batch", "eval mode"),
        (
            TooWide,
            "shape",
            "1 (tests.export.test_export_failures.TooWide)",
            "does not fit the shape",
            "run the encoder",
        ),
        (Recurrent, "steps", "1.rnn (torch.nn.modules.rnn.LSTM)", "a recurrent network", "nn.LSTMCell"),
    ],
)
def test_the_message_has_the_part_the_line_the_reason_and_what_to_do(tmp_path, encoder, mark, part, reason, advice):
    message = refusal(encoder(), tmp_path / "model.onnx")
    assert message.startswith(f"cannot use the encoder of audio for ONNX, encoders.audio.{part}")
    assert line_of(mark) in message
    assert reason in message
    assert advice in message


def test_a_fusion_that_torch_cannot_export_is_told_by_its_line(tmp_path):
    class Branching(toy.SumModel):
        def fuse(self, features, present):
            if present.any():  # wrong: fusion
                return super().fuse(features, present)
            return {"scores": features["image"]}

    graph, path = PresenceGraph(Branching().eval(), "classification").eval(), tmp_path / "model.onnx"
    with pytest.raises(UnsupportedModuleError) as caught:
        onnx_file_from_graph(graph, toy.SPECS, outputs=["scores"], opset=20, ir_version=10, path=path)
    assert str(caught.value).startswith("cannot use the model for ONNX")
    assert line_of("fusion") in str(caught.value)


def test_a_selection_by_value_is_told_to_keep_the_shape():
    cause = cause_in_words(OverflowError("Python int too large to convert to C long"), "x[x > 0].mean()")
    assert "selects elements by their values" in cause.reason
    assert "torch.where" in cause.advice


def graph_of(dtype: int, path: Path) -> Path:
    value = onnx.helper.make_tensor_value_info("x", dtype, ["rows", 4])
    node = onnx.helper.make_node("ReduceMax", ["x"], ["y"], "highest")
    result = onnx.helper.make_tensor_value_info("y", dtype, [1, 1])
    made = onnx.helper.make_graph([node], "g", [value], [result])
    onnx.save(onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_an_operator_of_a_type_that_onnx_has_it_not_for_is_told_by_its_line(tmp_path):
    origins = {"highest": Origin(SourceLine("/home/me/net.py", 7), "the encoder of audio")}
    check_file(graph_of(onnx.TensorProto.INT32, tmp_path / "good.onnx"), origins)
    with pytest.raises(
        UnsupportedModuleError,
        match=r"the encoder of audio: ONNX has ReduceMax \('highest', from /home/me/net\.py:7,\) not for int16; cast",
    ):
        check_file(graph_of(onnx.TensorProto.INT16, tmp_path / "bad.onnx"), origins)
