"""Merged and collapsed models run in ONNX Runtime, for any number of rows, 0 among them."""

import io
import logging
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from onepath.export.collapse import collapse
from onepath.merging.lego import LegoFuse, LegoMerge
from tests.merging.lego.small_blocks import every_pattern, small_block, small_blocks, small_inputs


class Fusion(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.body = model

    def forward(self, *tensors: Tensor) -> Tensor:
        features = dict(zip(self.body.modalities, tensors, strict=False))
        return self.body.fuse(features, tensors[-1])["scores"]


class Positional(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.body = model

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.body(*tensors)


def session_of(module: nn.Module, inputs: tuple[Tensor, ...]) -> onnxruntime.InferenceSession:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    rows = torch.export.Dim.DYNAMIC
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            module, inputs, dynamo=True, dynamic_shapes=(tuple({0: rows} for _ in inputs),), verbose=False
        )
    buffer = io.BytesIO()
    program.save(buffer)
    return onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])


def largest_error(module: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    session = session_of(module.eval(), inputs)
    names = [entry.name for entry in session.get_inputs()]
    errors = [0.0]
    for rows in (0, 1, 7):
        some = [tensor[:rows] for tensor in inputs]
        result = session.run(None, {name: tensor.numpy() for name, tensor in zip(names, some, strict=True)})[0]
        expected = module(*some).detach().numpy()
        assert result.shape == expected.shape
        errors += np.abs(result - expected).ravel().tolist()
    return max(errors)


@pytest.mark.parametrize(
    ("kind", "collapsed"),
    [("harmonic", False), *((kind, True) for kind in ("sum", "product", "harmonic", "stack", "weave"))],
)
def test_the_fusion_of_a_model_exports(kind: str, collapsed: bool) -> None:
    names = (
        "abc" if collapsed else "ab"
    )  # in many paths, three heads are merged in many steps, which are slow to export
    blocks = small_blocks(names)
    model = LegoFuse(blocks, order=kind) if kind in ("stack", "weave") else LegoMerge(blocks, method=kind)
    model = collapse(model.float())[0] if collapsed else model.float()
    features = [model.encoders[name](values.float()).detach() for name, values in small_inputs(names).items()]
    # Directions that nearly cancel make the harmonic mean sensitive to rounding, hence the tolerance.
    assert largest_error(Fusion(model), (*features, every_pattern(3)[:, : len(names)].contiguous())) <= 1e-4


FORMS = [
    *((name, {}) for name in "abmn"),
    *((name, {"fourier_dim": 2}) for name in "abm"),
    ("b", {"context_fft": False}),
    ("b", {"tokens": None}),
]


@pytest.mark.parametrize(("name", "form"), FORMS, ids=str)
def test_a_collapsed_block_exports(name: str, form: dict) -> None:
    block = small_block(name, **form).float()
    assert largest_error(Positional(collapse(block)[0]), (small_inputs(name)[name].float(),)) <= 1e-5


@pytest.mark.parametrize(("name", "form"), [("m", {}), ("b", {"fourier_dim": 2})], ids=str)
def test_a_block_exports_in_many_paths_too(name: str, form: dict) -> None:
    assert largest_error(Positional(small_block(name, **form).float()), (small_inputs(name)[name].float(),)) <= 1e-5


def test_the_comparison_notices_other_weights() -> None:
    session = session_of(Positional(collapse(small_block("a").float())[0]).eval(), (small_inputs()["a"].float(),))
    result = session.run(None, {session.get_inputs()[0].name: small_inputs()["a"].float().numpy()})[0]
    assert np.abs(result - small_block("a", seed=9).float()(small_inputs()["a"].float()).detach().numpy()).max() > 1e-2
