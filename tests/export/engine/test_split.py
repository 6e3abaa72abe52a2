"""A dispatched graph in parts: encoders of every row and the fusion give what the graph gives."""

import importlib.util
from itertools import product
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from onepath.contract.errors import UnsupportedModuleError
from onepath.contract.tensors import TensorSpec
from onepath.export.collapse import collapse
from onepath.export.engine.split import split_graph
from onepath.export.graphs.dispatch import PresenceGraph
from onepath.export.graphs.exporter import onnx_file_from_graph
from onepath.merging.lego import LegoMerge
from tests.export.engine.dispatched import graph_text
from tests.server.bundles import IMAGE_WEIGHT, scores
from tests.server.bundles import graph_text as dense_text

LEVEL, TEXT = 51, "abc"


def session(model):
    return ort.InferenceSession(ir.to_proto(model).SerializeToString())


def run(model, feeds):
    opened = session(model)
    names = [output.name for output in opened.get_outputs()]
    return dict(zip(names, opened.run(None, feeds), strict=True))


@pytest.fixture(scope="module")
def tiny():
    return split_graph(ir.from_onnx_text(graph_text()), ("image", "text"))


def values(rows):
    """Return an image of one level and a text, in every row."""
    text = np.zeros((rows, 8), np.int32)
    text[:, :3] = [2, 3, 4]
    return {"image": np.full((rows, 1, 4, 4), LEVEL, np.uint8), "text": text}


def fused(parts, features, states):
    named = {f"{name}.features": array for name, array in features.items()}
    return run(parts.fusion, named | {f"{name}_state": state for name, state in states.items()})


def every_state():
    """Return a row for each of the nine pairs of states, and the scores that they must have."""
    pairs = list(product((0, 1, 2), repeat=2))
    wanted = [
        scores(level=LEVEL if image == 1 else None, text=TEXT if text == 1 else None)
        if 2 not in (image, text)
        else np.zeros(3)
        for image, text in pairs
    ]
    states = {name: np.array([[pair[i]] for pair in pairs], np.uint8) for i, name in enumerate(("image", "text"))}
    return states, np.array(wanted)


def test_encoders_and_fusion_give_the_closed_form_for_every_pair_of_states(tiny):
    states, wanted = every_state()
    features = {name: run(tiny.encoders[name], {name: array})["features"] for name, array in values(9).items()}
    found = fused(tiny, features, states)
    np.testing.assert_allclose(found["scores"], wanted, atol=1e-6)
    assert found["presence"].tolist() == [
        [i == 1 and t != 2, t == 1 and i != 2] for i, t in product((0, 1, 2), repeat=2)
    ]


def test_an_encoder_that_is_off_is_seen(tiny):
    states, wanted = every_state()
    features = {name: run(tiny.encoders[name], {name: array})["features"] for name, array in values(9).items()}
    found = fused(tiny, features | {"image": features["image"] * 1.01}, states)
    assert np.abs(found["scores"] - wanted).max() > 1e-3


def test_what_an_absent_row_holds_never_reaches_an_output_not_even_nan(tiny):
    states, wanted = every_state()
    features = {name: run(tiny.encoders[name], {name: array})["features"] for name, array in values(9).items()}
    for name, state in states.items():
        features[name][state[:, 0] != 1] = np.nan
    np.testing.assert_allclose(fused(tiny, features, states)["scores"], wanted, atol=1e-6)


def test_what_a_present_row_holds_does_reach_the_output(tiny):
    states, _ = every_state()
    features = {name: np.full((9, 3), np.nan, np.float32) for name in states}
    assert np.isnan(fused(tiny, features, states)["scores"][1]).all()


def test_an_encoder_takes_its_values_alone_and_has_no_tensor_whose_size_depends_on_them(tiny):
    for name, encoder in tiny.encoders.items():
        assert [value.name for value in encoder.graph.inputs] == [name]
        assert {node.op_type for node in encoder.graph} & {"NonZero", "ScatterND"} == set()


def test_the_fusion_takes_features_and_states_and_no_values(tiny):
    inputs = [value.name for value in tiny.fusion.graph.inputs]
    assert inputs == ["image.features", "text.features", "image_state", "text_state"]
    assert not any(node.op_type in ("NonZero", "ScatterND") for node in tiny.fusion.graph)


def test_the_features_are_described_as_the_absent_values_are_shaped(tiny):
    assert tiny.features == tuple(TensorSpec(name=name, dtype="float32", shape=(3,)) for name in ("image", "text"))


def test_features_in_16_bits_pass_between_the_parts_in_float32():
    parts = split_graph(ir.from_onnx_text(graph_text(features="fp16")), ("image", "text"))
    states, wanted = every_state()
    features = {name: run(parts.encoders[name], {name: array})["features"] for name, array in values(9).items()}
    assert {array.dtype for array in features.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(fused(parts, features, states)["scores"], wanted, atol=1e-3)


def test_the_given_graph_is_left_as_it_is():
    model = ir.from_onnx_text(graph_text())
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    split_graph(model, ("image", "text"))
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_a_graph_without_dispatch_is_refused_by_modality():
    with pytest.raises(UnsupportedModuleError, match="no dispatch of the rows of image"):
        split_graph(ir.from_onnx_text(dense_text(IMAGE_WEIGHT)), ("image", "text"))


def test_an_encoder_that_looks_at_another_modality_is_refused():
    spying = graph_text().replace("Div(image_mean, image_scale)", "Div(image_mean, spied)")
    spying = spying.replace(
        "  image_used =",
        "  spied_ids = Cast<to = 1>(text)\n  spied = ReduceMax<keepdims = 0>(spied_ids)\n  image_used =",
        1,
    )
    with pytest.raises(UnsupportedModuleError, match="the encoder of image: it needs text as well"):
        split_graph(ir.from_onnx_text(spying), ("image", "text"))


def test_a_modality_named_as_the_fusion_is_refused():
    with pytest.raises(UnsupportedModuleError, match="fusion"):
        split_graph(ir.from_onnx_text(graph_text()), ("fusion",))


def exported(model, specs, folder):
    graph = PresenceGraph(model.eval(), "classification").eval()
    path = folder / "model.onnx"
    return onnx_file_from_graph(graph, specs, outputs=["scores"], opset=20, ir_version=10, path=path).lazy_model()


def answers_of_parts(parts, arrays, states):
    features = {name: run(parts.encoders[name], {name: array})["features"] for name, array in arrays.items()}
    return fused(parts, features, states)


class TestAMergeOfBlocks:
    SPECS = (
        TensorSpec(name="picture", dtype="uint8", shape=(1, 6, 6)),
        TensorSpec(name="word", dtype="int32", shape=(8,)),
        TensorSpec(name="cells", dtype="float32", shape=(2,)),
    )

    @pytest.fixture(scope="class")
    @staticmethod
    def graph(tmp_path_factory):
        """The collapsed merge of the toy recipe's blocks, exported as a bundle's."""
        merged, _ = collapse(LegoMerge(toy_blocks(), method="harmonic").eval())
        return exported(merged.float(), TestAMergeOfBlocks.SPECS, tmp_path_factory.mktemp("merge"))

    def test_in_parts_gives_what_the_dispatched_graph_gives_for_every_presence_pattern(self, graph):
        generator = np.random.default_rng(0)
        arrays = {
            "picture": generator.integers(0, 256, (27, 1, 6, 6)).astype(np.uint8),
            "word": generator.integers(0, 64, (27, 8)).astype(np.int32),
            "cells": generator.normal(size=(27, 2)).astype(np.float32),
        }
        every = np.array([*product((0, 1, 2), repeat=3)], np.uint8)
        states = {name: every[:, [column]] for column, name in enumerate(arrays)}
        for name, array in arrays.items():
            array[states[name][:, 0] != 1] = 0  # as the processors leave it
        wanted = run(graph, arrays | {f"{name}_state": state for name, state in states.items()})
        found = answers_of_parts(split_graph(graph, tuple(arrays)), arrays, states)
        assert np.ptp(wanted["scores"][wanted["row_status"][:, 0] == 0], axis=0).min() > 0.01
        for name, array in wanted.items():
            np.testing.assert_allclose(found[name], array, atol=1e-5)


def toy_blocks():
    """Return the blocks of the toy recipe's code."""
    place = Path(__file__).parents[1] / "toy_recipe" / "train.py"
    spec = importlib.util.spec_from_file_location("toy_recipe_train", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.blocks()
