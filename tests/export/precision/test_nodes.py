"""Whose encoder a node belongs to, which products give the logits, and `Gemm` written out."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from onepath.export.precision.element_types import element_types
from onepath.export.precision.gemm import matmul_from_gemm
from onepath.export.precision.nodes import heads, name_nodes, owners, precision_of_nodes, weighted_products
from tests.export.precision import models

RANDOM = np.random.default_rng(0)


def test_a_node_belongs_to_the_one_modality_whose_values_it_depends_on(named):
    owner = owners(named.graph, models.NAMES)
    operators = {node.name: node.op_type for node in named.graph.node}
    norms = [owner.get(name) for name, kind in operators.items() if kind == "LayerNormalization"]
    assert norms == ["left", "left", "right", "right"]
    assert all(owner.get(name) is None for name, kind in operators.items() if kind == "NonZero")  # of states alone


def test_what_depends_on_several_modalities_is_the_fusions(named):
    (head,) = heads(named.graph)
    assert head not in owners(named.graph, models.NAMES)


def test_an_override_reaches_an_encoder_and_nothing_else(named):
    wanted = precision_of_nodes(named.graph, models.NAMES, default="int8", overrides={"right": "fp32"})
    owner = owners(named.graph, models.NAMES)
    assert {wanted[name] for name in wanted if owner.get(name) == "right"} == {"fp32"}
    assert {wanted[name] for name in wanted if owner.get(name) != "right"} == {"int8"}


def test_the_product_before_the_output_gives_the_logits(named):
    (head,) = heads(named.graph)
    node = next(node for node in named.graph.node if node.name == head)
    weights = {tensor.name: tuple(tensor.dims) for tensor in named.graph.initializer}
    assert models.CLASSES in weights[node.input[1]]


def test_attention_has_no_constant_weight(named):
    found = weighted_products(named.graph, ("MatMul", "Gemm"))
    assert len(found) == 2 * 5 + 1  # embed, qkv, proj, fc1, fc2 of each encoder, and the head
    assert sum(node.op_type in ("MatMul", "Gemm") for node in named.graph.node) == len(found) + 4


def test_names_that_are_missing_or_taken_are_made_up():
    nodes = [helper.make_node("Relu", ["x"], ["a"], "same"), helper.make_node("Relu", ["a"], ["b"], "same")]
    model = models.model_of([*nodes, helper.make_node("Relu", ["b"], ["y"])], {"x": [1]}, {"y": [1]})
    name_nodes(model)
    names = [node.name for node in model.graph.node]
    assert names[0] == "same"
    assert len({*names}) == 3
    assert "" not in names


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm_written_out_computes_the_same_and_leaves_tied_weights_alone(bias, transposed):
    weight, add = RANDOM.normal(size=(3, 3)).astype(np.float32), RANDOM.normal(size=3).astype(np.float32)
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"][: 2 + bias], ["a"], "gemm", transB=transposed),
        helper.make_node("MatMul", ["a", "w"], ["y"], "tied"),
    ]
    weights = {"w": weight} | ({"b": add} if bias else {})
    model = models.model_of(nodes, {"x": ["n", 3]}, {"y": ["n", 3]}, weights)
    matmul_from_gemm(model)
    assert "Gemm" not in {node.op_type for node in model.graph.node}
    onnx.checker.check_model(model, full_check=True)
    x = RANDOM.normal(size=(2, 3)).astype(np.float32)
    expected = (x @ (weight.T if transposed else weight) + (add if bias else 0)) @ weight
    (found,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    assert np.abs(found - expected).max() < 1e-5


def test_a_gemm_that_scales_stays():
    node = helper.make_node("Gemm", ["x", "w"], ["y"], "gemm", alpha=0.5)
    model = models.model_of([node], {"x": ["n", 3]}, {"y": ["n", 3]}, {"w": np.eye(3, dtype=np.float32)})
    matmul_from_gemm(model)
    assert [node.op_type for node in model.graph.node] == ["Gemm"]


def test_element_types_are_found_without_the_weights(named):
    types = element_types(named)
    by_operator = {node.op_type: types[node.output[0]] for node in named.graph.node}
    assert by_operator["LayerNormalization"] == onnx.TensorProto.FLOAT
    assert by_operator["NonZero"] == onnx.TensorProto.INT64
    assert {*types} >= {name for node in named.graph.node for name in node.output}
