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
from onepath.merging.lego import LegoMerge
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


@pytest.mark.parametrize("collapsed", [False, True])
def test_the_fusion_of_a_merge_exports(collapsed: bool) -> None:
    model = LegoMerge(small_blocks()).float()
    model = collapse(model)[0] if collapsed else model
    features = [model.encoders[name](values.float()).detach() for name, values in small_inputs().items()]
    # Directions that nearly cancel make the harmonic mean sensitive to rounding, hence the tolerance.
    assert largest_error(Fusion(model), (*features, every_pattern(3))) <= 1e-4


@pytest.mark.parametrize("name", "ab")
def test_a_collapsed_block_exports(name: str) -> None:
    block = small_block(name).float()
    assert largest_error(Positional(collapse(block)[0]), (small_inputs()[name].float(),)) <= 1e-5
