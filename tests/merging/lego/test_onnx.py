"""Merged and collapsed models run in ONNX Runtime, for any number of rows, 0 among them."""

import io
import logging
import warnings
from functools import cache

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


# Two blocks where more take long: slerp, which is exact for two heads at once, and chains, whose steps are all alike.
MODELS = [
    ("harmonic", "ab", False),
    ("sum", "abc", True),
    ("product", "ab", True),
    ("harmonic", "abc", True),
    ("weave", "ab", True),
]


@pytest.mark.parametrize(("kind", "names", "collapsed"), MODELS)
def test_the_fusion_of_a_model_exports(kind: str, names: str, collapsed: bool) -> None:
    blocks = small_blocks(names, depth=1 if kind == "weave" else 2)
    model = LegoFuse(blocks, order=kind) if kind == "weave" else LegoMerge(blocks, method=kind)
    model = collapse(model.float())[0] if collapsed else model.float()
    features = [model.encoders[name](values.float()).detach() for name, values in small_inputs(names).items()]
    # Directions that nearly cancel make the harmonic mean sensitive to rounding, hence the tolerance.
    assert largest_error(Fusion(model), (*features, every_pattern(3)[:, : len(names)].contiguous())) <= 1e-4


# The steps between depths are in the graphs of a, and of n over features; the other forms differ in what is read.
FORMS = [
    ("a", {}, True),
    ("b", {"depth": 1}, True),
    ("b", {"depth": 1, "tokens": None}, True),
    ("m", {"depth": 1}, True),
    ("m", {"depth": 1, "fourier_dim": 2}, True),
    ("n", {"fourier_dim": 2}, True),
    ("m", {"depth": 1}, False),
    ("a", {"fourier_dim": 2}, False),
]


class SideBySide(nn.Module):
    """Models of one tensor each in one graph, as an export costs most of its time once."""

    def __init__(self, models: list[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(model(values) for model, values in zip(self.models, tensors, strict=True))


def block_of(name: str, form: dict, collapsed: bool) -> nn.Module:
    block = small_block(name, **form).float()
    return collapse(block)[0] if collapsed else block


def values_of(name: str) -> Tensor:
    return small_inputs(name)[name].float()


@cache
def scores_of_blocks(rows: int) -> list[np.ndarray]:
    session, values = session_of_blocks(), [values_of(name).numpy()[:rows] for name, *_ in FORMS]
    return session.run(None, {entry.name: some for entry, some in zip(session.get_inputs(), values, strict=True)})


@cache
def session_of_blocks() -> onnxruntime.InferenceSession:
    models = SideBySide([block_of(*form) for form in FORMS]).eval()
    return session_of(models, tuple(values_of(name) for name, *_ in FORMS))


@pytest.mark.parametrize("rows", [0, 1, 7])
@pytest.mark.parametrize("index", range(len(FORMS)), ids=[str(form) for form in FORMS])
def test_a_block_exports_collapsed_and_in_many_paths(index: int, rows: int) -> None:
    expected = block_of(*FORMS[index])(values_of(FORMS[index][0])[:rows]).detach().numpy()
    np.testing.assert_allclose(scores_of_blocks(rows)[index], expected, rtol=0, atol=1e-5)


def test_the_comparison_notices_other_weights() -> None:
    other = small_block("a", seed=9).float()(values_of("a")).detach().numpy()
    assert np.abs(scores_of_blocks(7)[0] - other).max() > 1e-2
