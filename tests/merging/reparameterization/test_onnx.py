"""A collapsed model is served as the plain one is: the same graph, of the same size."""

import io
import logging
import warnings
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from onepath.merging.reparameterization import collapse_in_place, reparameterize
from tests.merging.reparameterization.small_models import set_every_scale
from tests.merging.reparameterization.tiny_vit import TinyViT

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def attached() -> nn.Module:
    torch.manual_seed(0)
    model = TinyViT(depth=1).eval()
    reparameterize(model, TinyViT(depth=1), biases=True)
    set_every_scale(model, 0.5)
    return model


def collapsed() -> nn.Module:
    model = attached()
    collapse_in_place(model)
    return model


@cache
def exported(form: str) -> bytes:
    model = {"plain": lambda: TinyViT(depth=1).eval(), "attached": attached, "collapsed": collapsed}[form]()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            model, (IMAGES,), dynamo=True, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), verbose=False
        )
    buffer = io.BytesIO()
    program.save(buffer)
    return buffer.getvalue()


def weights_bytes(form: str) -> int:
    return sum(len(tensor.raw_data) for tensor in onnx.load_from_string(exported(form)).graph.initializer)


def operators(form: str) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(exported(form)).graph.node]


def test_the_collapsed_graph_has_the_operators_and_the_size_of_the_plain_one() -> None:
    assert operators("collapsed") == operators("plain")
    assert weights_bytes("collapsed") == weights_bytes("plain")


def test_the_attached_graph_is_larger() -> None:
    assert len(operators("attached")) > len(operators("plain"))
    assert weights_bytes("attached") > 1.5 * weights_bytes("plain")


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_the_collapsed_graph_gives_the_attached_models_logits(rows: int) -> None:
    session = onnxruntime.InferenceSession(exported("collapsed"), providers=["CPUExecutionProvider"])
    images = IMAGES[:rows]
    (result,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        expected = attached()(images).numpy()
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)
    assert result.shape == (rows, 10)
