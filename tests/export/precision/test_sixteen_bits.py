"""float16 and bfloat16 in the graph: what computes in them, what does not, and what a CPU makes of it."""

from collections import Counter

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from onepath.export.graphs.onnx_file import onnx_file_from_model
from onepath.export.precision.element_types import element_types
from onepath.export.precision.low_nodes import low_nodes
from onepath.export.precision.lowering import emulate, lower
from onepath.export.precision.magnitudes import largest_magnitudes, overflowing
from onepath.export.precision.nodes import heads
from onepath.export.precision.sessions import run_from_graph
from onepath.export.proofs import Batch
from onepath.export.rows import feeds_from_batch
from tests.export.precision import models

RANDOM = np.random.default_rng(0)
KINDS = {"fp16": (TensorProto.FLOAT16, np.float16), "bf16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16)}


def names_of(model, precision, without=()):
    every = [node.name for node in model.graph.node]
    without = dict.fromkeys(without, "not wanted")
    return low_nodes(model, every, precision, types=element_types(model), without=without)


def copied(model):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


@pytest.fixture(scope="module", params=["bf16", "fp16"])
def precision(request):
    return request.param


@pytest.fixture(scope="module")
def lowered(named, precision):
    model = copied(named)
    lower(model, names_of(named, precision).names, precision)
    return model


def test_products_compute_in_it(named, lowered, precision):
    types, kind = element_types(lowered), KINDS[precision][0]
    products = [node for node in lowered.graph.node if node.op_type in ("MatMul", "Gemm")]
    low = [node.name for node in products if types[node.input[0]] == types[node.input[1]] == kind]
    assert len(low) == len(products) - 1
    assert {node.name for node in products} - {*low} == heads(named.graph)


@pytest.mark.parametrize("operator", ["LayerNormalization", "Softmax", "ReduceMean", "ScatterND"])
def test_norms_softmax_reductions_and_dispatch_read_float32(lowered, operator):
    types = element_types(lowered)
    nodes = [node for node in lowered.graph.node if node.op_type == operator]
    floats = {types[name] for node in nodes for name in node.input} - {TensorProto.INT64}
    assert nodes
    assert floats <= {TensorProto.FLOAT, TensorProto.INT32, TensorProto.UINT8, TensorProto.BOOL}


def test_the_residual_stream_and_what_leads_to_softmax_stay_in_float32(named, precision):
    names = names_of(named, precision).names
    operators = {node.name: node.op_type for node in named.graph.node}
    chosen = Counter(operators[name] for name in names)
    assert chosen["Gelu"] == 2  # between two products
    assert chosen["Mul"] == 0  # the scale before the softmax
    assert chosen["Add"] == 2 + 2  # biases before GELU and before attention; no residual, no bias before a residual


def test_inputs_and_outputs_keep_their_types(named, lowered):
    assert lowered.graph.input == named.graph.input
    assert lowered.graph.output == named.graph.output


def test_weights_are_stored_in_it_and_only_once(named, lowered, precision):
    kinds = Counter(tensor.data_type for tensor in lowered.graph.initializer if len(tensor.dims) == 2)
    assert kinds[KINDS[precision][0]] == 10
    assert kinds[TensorProto.FLOAT] == 1  # the head's
    assert lowered.ByteSize() < 0.6 * named.ByteSize()


def test_the_graph_is_typed_throughout(lowered):
    onnx.checker.check_model(lowered, full_check=True)


def test_the_emulation_gives_what_numpy_gives_with_rounded_numbers(precision):
    kind = KINDS[precision][1]
    first, bias, second = (RANDOM.normal(size=shape).astype(np.float32) for shape in ((8, 6), (6,), (6, 5)))
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"], "a"),
        helper.make_node("Add", ["a", "bias"], ["b"], "b"),
        helper.make_node("Relu", ["b"], ["c"], "c"),
        helper.make_node("MatMul", ["c", "second"], ["d"], "d"),
        helper.make_node("Softmax", ["d"], ["e"], "e"),
        helper.make_node("MatMul", ["e", "head"], ["y"], "head"),
    ]
    head = RANDOM.normal(size=(5, 3)).astype(np.float32)
    weights = {"first": first, "bias": bias, "second": second, "head": head}
    model = models.model_of(nodes, {"x": ["n", 8]}, {"y": ["n", 3]}, weights)
    names = names_of(model, precision).names
    assert names == {"a", "b", "c", "d"}
    lower(model, names, precision)
    emulate(model, names)
    x = RANDOM.normal(size=(4, 8)).astype(np.float32)
    (found,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})

    def rounded(array):
        return array.astype(kind).astype(np.float32)

    hidden = rounded(np.maximum(rounded(rounded(rounded(x) @ rounded(first)) + rounded(bias)), 0))
    scores = rounded(hidden @ rounded(second))
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    expected = exponents / exponents.sum(axis=1, keepdims=True) @ head
    assert np.abs(found - expected).max() < 1e-5
    exact = np.maximum(x @ first + bias, 0) @ second
    exponents = np.exp(exact - exact.max(axis=1, keepdims=True))
    assert np.abs(found - exponents / exponents.sum(axis=1, keepdims=True) @ head).max() > 1e-4  # it does round


def test_the_emulation_gives_what_a_16_bit_engine_gives(precision):
    weights = {"u": RANDOM.normal(size=(8, 8)).astype(np.float32), "v": RANDOM.normal(size=(8, 4)).astype(np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "u"], ["a"], "a"),
        helper.make_node("Tanh", ["a"], ["b"], "b"),
        helper.make_node("MatMul", ["b", "v"], ["c"], "c"),
        helper.make_node("Softmax", ["c"], ["y"], "y"),
        helper.make_node("MatMul", ["y", "head"], ["z"], "z"),
    ]
    weights["head"] = np.eye(4, dtype=np.float32)
    model = models.model_of(nodes, {"x": ["n", 8]}, {"z": ["n", 4]}, weights)
    names = names_of(model, precision).names
    lower(model, names, precision)
    x = RANDOM.normal(size=(16, 8)).astype(np.float32)
    (expected,) = ReferenceEvaluator(copied(model)).run(None, {"x": x})
    emulate(model, names)
    (found,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    assert np.abs(found - expected).max() < {"bf16": 0.02, "fp16": 0.003}[precision]


def test_a_float16_graph_that_a_cpu_can_run_answers_as_its_emulation(named, reference):
    names, batch = names_of(named, "fp16").names, models.source(8).mixed(8)
    model = copied(named)
    lower(model, names, "fp16")
    feeds = feeds_from_batch(batch)
    own = ort.InferenceSession(model.SerializeToString()).run(["scores"], feeds)[0]
    emulate(model, names)
    emulated = ort.InferenceSession(model.SerializeToString()).run(["scores"], feeds)[0]
    exact = run_from_graph(reference.path)(batch)["scores"]
    assert np.abs(own - emulated).max() < 2e-3
    assert 0 < np.abs(emulated - exact).max() < 5e-3


def test_an_operator_that_the_operator_set_does_not_know_in_it_stays_with_a_reason():
    weights = {"w": RANDOM.normal(size=(2, 1, 3, 3)).astype(np.float32), "v": np.eye(4, dtype=np.float32)}
    weights["head"] = np.eye(4, dtype=np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "convolution", pads=[1, 1, 1, 1]),
        helper.make_node("MatMul", ["a", "v"], ["b"], "product"),
        helper.make_node("MatMul", ["b", "head"], ["y"], "head"),
    ]
    for version, low in ((20, {"product"}), (22, {"product", "convolution"})):
        model = models.model_of(nodes, {"x": ["n", 1, 4, 4]}, {"y": ["n", 2, 4, 4]}, weights, opset=version)
        found = names_of(model, "bf16")
        assert found.names == low
        assert ("convolution" in found.kept) == (version == 20)
        assert names_of(model, "fp16").names == {"product", "convolution"}


def overflowing_model(size):
    weights = {"u": np.full((2, 2), size, np.float32), "v": np.eye(2, dtype=np.float32)}
    weights |= {"s": np.full(1, 1 / size, np.float32), "head": np.eye(2, dtype=np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "u"], ["a"], "large"),
        helper.make_node("Mul", ["a", "s"], ["b"], "scale"),
        helper.make_node("MatMul", ["b", "v"], ["c"], "small"),
        helper.make_node("MatMul", ["c", "head"], ["y"], "head"),
    ]
    return models.model_of(nodes, {"x": ["n", 2]}, {"y": ["n", 2]}, weights)


@pytest.mark.parametrize(("size", "over"), [(5e4, {"large", "scale"}), (100.0, set())])
def test_a_product_whose_activations_float16_cannot_hold_is_found(size, over, tmp_path):
    model = overflowing_model(size)  # of ones, its first product gives twice the size: 1e5
    graph = onnx_file_from_model(model, tmp_path / "m.onnx")
    names = names_of(model, "fp16").names
    tensors = {name for node in model.graph.node for name in (*node.input, *node.output)}
    batch = Batch("", {"x": np.ones((1, 2), np.float32)}, {})
    magnitudes = largest_magnitudes(graph, tensors, [batch], tmp_path / "copy.onnx")
    assert magnitudes["a"] == 2 * size
    found = overflowing(model, names, magnitudes)
    assert {*found} == over
    assert all("65504" in reason for reason in found.values())
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_without_the_overflowing_product_the_graph_is_finite_and_with_it_not():
    x = np.ones((1, 2), np.float32)
    found = {}
    for without in ((), ("large", "scale")):
        model = overflowing_model(5e4)
        names = names_of(model, "fp16", without).names
        lower(model, names, "fp16")
        emulate(model, names)
        (found[without],) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    assert not np.isfinite(found[()]).all()
    assert found["large", "scale"] == pytest.approx(np.full((1, 2), 2.0), rel=1e-3)


def test_what_is_no_number_is_not_taken_for_a_small_one(tmp_path):
    model = overflowing_model(1.0)
    graph = onnx_file_from_model(model, tmp_path / "m.onnx")
    rows = [np.ones((1, 2), np.float32), np.full((1, 2), np.nan, np.float32), np.ones((1, 2), np.float32)]
    batches = [Batch("", {"x": row}, {}) for row in rows]
    magnitudes = largest_magnitudes(graph, ["a"], batches, tmp_path / "copy.onnx")
    assert magnitudes == {"a": np.inf}
    assert {*overflowing(model, ["large", "small"], magnitudes)} == {"large"}
