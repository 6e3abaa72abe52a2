"""Models that are wrong in one way each, as a wrong fold or export would leave them: parity catches every one."""

import copy
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from onepath.contract.errors import ParityError
from onepath.contract.manifest import ModalityEntry
from onepath.export.collapse import collapse
from onepath.export.graphs.dispatch import PresenceGraph
from onepath.export.graphs.onnx_file import onnx_file_from_model
from onepath.export.proofs import Batch, compare
from onepath.export.proving import prove_collapse, prove_merge, prove_onnx
from onepath.export.proving.onnx_parity import parity_batches
from onepath.export.proving.running import run_dispatched, run_every_row
from onepath.export.tolerances import Tolerances
from onepath.merging.lego import LegoMerge
from onepath.modalities import tensor_from_settings
from tests.export.answered_toy import answered, toy_code, toy_source

SETTINGS = {
    "picture": ("image", {"height": 6, "width": 6, "channels": 1}),
    "word": ("text", {"tokenizer": "characters", "length": 8}),
    "cells": ("tabular", {"columns": [{"name": "corners"}, {"name": "area", "mean": 4.0, "scale": 2.0}]}),
}
TOLERANCES = Tolerances()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    nothing = tmp_path_factory.mktemp("assets")
    entries = [
        ModalityEntry(
            name=name, kind=kind, settings=settings, tensor=tensor_from_settings(name, kind, settings, {}, nothing)
        )
        for name, (kind, settings) in SETTINGS.items()
    ]

    return toy_source(SimpleNamespace(modalities=entries))


def merged(blocks=None, **settings):
    """Return the toy's merge in float64, in which no bias is zero and no norm's weight is one."""
    blocks = toy_code().blocks() if blocks is None else blocks
    generator = torch.Generator().manual_seed(1)
    model = LegoMerge(blocks, method="harmonic", **settings).double().eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


def parameter(model, ending):
    """Return the data of the one parameter whose name ends so."""
    (found,) = (each.data for name, each in model.named_parameters() if name.endswith(ending))
    return found


PICTURE, LAYERS = "picture.block", "word.block.layers"
FIRST, SECOND = (f"{PICTURE}.encoder.{layer}.parametrizations.weight" for layer in ("first", "second"))


def change(ending, new):
    def wrong(model):
        found = parameter(model, ending)
        found.copy_(new(found.clone()))

    return wrong


def exchange(one, other):
    def wrong(model):
        first, second = parameter(model, one), parameter(model, other)
        kept = first.clone()
        first.copy_(second)
        second.copy_(kept)

    return wrong


def forgotten(name):
    """Leave out what an attribute of the model says, such as a modality's weight or the way that heads are merged."""

    def wrong(model):
        other = LegoMerge(model.blocks, **name).double().eval()
        model.method, model.weights, model.head_method = other.method, other.weights, other.head_method

    return wrong


WRONG = {
    "λ off by 1 %": change(f"{FIRST}.0.scale", lambda x: x * 1.01),
    "λ of another layer off by 1 %": change(f"{SECOND}.0.scale", lambda x: x * 1.01),
    "λ with the other sign": change(f"{FIRST}.0.scale", lambda x: -x),
    "λs of two layers exchanged": exchange(f"{FIRST}.0.scale", f"{SECOND}.0.scale"),
    "an auxiliary forgotten": change(f"{SECOND}.0.scale", torch.zeros_like),
    "an auxiliary transposed": change(f"{SECOND}.0.auxiliary", lambda x: x.T),
    "an auxiliary in the place of the weight": change(f"{FIRST}.original", torch.zeros_like),
    "a bias shifted by 1e-6": change(f"{PICTURE}.encoder.first.bias", lambda x: x + 1e-6),
    "one bias of one unit shifted": change("cells.block.encoder.second.bias", lambda x: x + 1e-6 * (x == x.max())),
    "a weight transposed": change("word.block.encoder.second.weight", lambda x: x.T),
    "a weight rounded to float32 before the proof": change("word.block.encoder.first.weight", lambda x: x.float()),
    "two layers exchanged": exchange(
        f"{LAYERS}.0.feed_forward.contract.weight", f"{LAYERS}.1.feed_forward.contract.weight"
    ),
    "the values of two layers exchanged": exchange(
        f"{LAYERS}.0.attention.value.weight", f"{LAYERS}.1.attention.value.weight"
    ),
    "the latents of two blocks exchanged": exchange("picture.block.latent", "word.block.latent"),
    "a head's columns permuted": change("cells.block.head.linear.weight", lambda x: x.roll(1, 1)),
    "a head's classes permuted": change("cells.block.head.linear.weight", lambda x: x.roll(1, 0)),
    "a norm's bias dropped": change("word.block.layers.0.attention.context_norm.bias", torch.zeros_like),
    "a norm's weight dropped": change("word.block.layers.1.feed_forward.norm.weight", torch.ones_like),
    "a head's norm dropped": change("picture.block.head.norm.bias", torch.zeros_like),
    "another merge method": forgotten({"method": "mean"}),
    "another merge of the heads": forgotten({"method": "harmonic", "head": "linear"}),
    "a modality's weight off by 1 %": forgotten({"method": "harmonic", "weights": {"word": 1.01}}),
}


def held_against(original, candidate, source):
    """Compare as the collapse's proof does."""
    return compare(
        "collapse",
        reference=lambda batch: run_every_row(original, batch),
        candidate=candidate,
        batches=[source.random(3, 0), source.mixed(9), *source.each_pattern(2)],
        tolerance=TOLERANCES.collapse,
        relative=True,
    )


def collapsed(model):
    plain, _ = collapse(copy.deepcopy(model))
    return lambda batch: run_dispatched(plain, batch)


@pytest.fixture(scope="module")
def right():
    return merged()


def test_there_are_twenty_wrong_models_and_more():
    assert len(WRONG) >= 20


def test_the_right_model_passes_every_check(right, source):
    held_against(right, collapsed(right), source)
    prove_collapse(right, source=source, tolerances=TOLERANCES, seed=0)
    prove_merge(right, right.blocks, part_of(right), source=source, tolerance=TOLERANCES.merge)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_model_is_caught_after_its_collapse(right, source, wrong):
    other = copy.deepcopy(right)
    WRONG[wrong](other)
    with pytest.raises(ParityError, match="collapse changed the result"):
        held_against(right, collapsed(other), source)


def part_of(model):
    return lambda names: LegoMerge({name: model.blocks[name] for name in names}, method="harmonic").double().eval()


@pytest.mark.parametrize("wrong", ["λ off by 1 %", "a head's columns permuted", "another merge method"])
def test_a_wrong_model_is_caught_as_a_merge_of_its_blocks(right, source, wrong):
    other = copy.deepcopy(right)
    WRONG[wrong](other)
    with pytest.raises(ParityError, match="merge changed the result"):
        prove_merge(other, right.blocks, part_of(right), source=source, tolerance=TOLERANCES.merge)


def test_presence_read_from_another_column_is_caught(right, source):
    run = collapsed(right)

    def swapped(batch):
        states = batch.states | {"picture": batch.states["word"], "word": batch.states["picture"]}
        return run(Batch(batch.title, batch.values, states))

    with pytest.raises(ParityError):
        held_against(right, swapped, source)


def test_rows_in_another_order_are_caught(right, source):
    run = collapsed(right)
    with pytest.raises(ParityError):
        held_against(right, lambda batch: {name: rows[::-1] for name, rows in run(batch).items()}, source)


def of_shape(model, *shape, index=0):
    """Return one of an ONNX graph's float32 weights by its shape."""
    floats = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    return [tensor for tensor in floats if tuple(tensor.dims) == shape][index]


def replace(tensor, new):
    array = np.ascontiguousarray(new(numpy_helper.to_array(tensor)), np.float32)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def exchange_weights(model):
    one, other = of_shape(model, 8, 64), of_shape(model, 8, 64, index=1)
    one.name, other.name = other.name, one.name


def exchange_states(model):
    others = {"picture_state": "word_state", "word_state": "picture_state"}
    for node in model.graph.node:
        node.input[:] = [others.get(name, name) for name in node.input]


def widen_a_norm(model):
    norm = next(node for node in model.graph.node if node.op_type == "LayerNormalization")
    del norm.attribute[:]
    norm.attribute.append(onnx.helper.make_attribute("epsilon", 1e-2))


def linear_instead(model):
    next(node for node in model.graph.node if node.op_type == "Tanh").op_type = "Identity"


WRONG_GRAPHS = {
    "a weight off by 1 %": lambda model: replace(of_shape(model, 12, 36), lambda x: x * 1.01),
    "a weight transposed": lambda model: replace(of_shape(model, 12, 12), lambda x: x.T),
    "a bias shifted": lambda model: replace(of_shape(model, 10), lambda x: x + 1e-3),
    "a head's classes permuted": lambda model: replace(of_shape(model, 8, 3, 8), lambda x: x[:, ::-1]),
    "two layers exchanged": exchange_weights,
    "presence read from another input": exchange_states,
    "a norm's epsilon lost": widen_a_norm,
    "an activation left out": linear_instead,
}


@pytest.fixture(scope="module")
def in_torch(source):
    model = LegoMerge(toy_code().blocks(), method="harmonic").eval()
    plain = prove_collapse(model, source=source, tolerances=TOLERANCES, seed=3).model
    return PresenceGraph(plain, "classification").eval()


@pytest.fixture
def prove(in_torch, source, tmp_path):
    """Prove an ONNX graph as a build does."""

    def run(model):
        file = onnx_file_from_model(model, tmp_path / "model.onnx")
        return prove_onnx(in_torch, file, batches=parity_batches(source, 8, seed=0), tolerances=TOLERANCES)

    return run


def test_the_right_graph_passes(prove):
    prove(onnx.load(answered() / "graphs/model.onnx"))


@pytest.mark.parametrize("wrong", WRONG_GRAPHS)
def test_a_wrong_graph_is_caught(prove, wrong):
    model = onnx.load(answered() / "graphs/model.onnx")
    WRONG_GRAPHS[wrong](model)
    with pytest.raises(ParityError, match="onnx changed the result"):
        prove(model)
