"""int8 graphs: what they compute, what stays in float32, and rows that are not there."""

import logging

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from onepath.contract.digests import sha256_from_file
from onepath.export.graphs.onnx_file import onnx_file_from_model
from onepath.export.precision.held_out import calibration_batches
from onepath.export.precision.int8 import dynamic_int8, static_int8
from onepath.export.precision.nodes import owners, weighted_products
from onepath.export.precision.sessions import run_from_graph
from onepath.export.proofs import Batch
from onepath.export.robustness.answers import only
from tests.export.precision import models

ROWS = models.source(12)
PRODUCTS = ("Gemm", "MatMul")


@pytest.fixture(scope="module")
def named_file(named, tmp_path_factory):
    return onnx_file_from_model(named, tmp_path_factory.mktemp("named") / "named.onnx")


def calibration():
    return calibration_batches(ROWS, range(12), models.BATCH)


def make(kind, graph, nodes, path, machine="cpu"):
    path.parent.mkdir(exist_ok=True)
    if kind == "dynamic":
        return dynamic_int8(graph, nodes, path)
    return static_int8(graph, nodes, path, rows=calibration(), machine=machine)


@pytest.fixture(scope="module", params=["dynamic", "static"])
def quantised(request, named, named_file, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "model.int8.onnx"
    return make(request.param, named_file, weighted_products(named.graph, PRODUCTS), path)


def test_its_scores_are_near_those_of_float32(reference, quantised):
    batch = ROWS.mixed(models.BATCH)
    expected, found = (run_from_graph(graph.path)(batch)["scores"] for graph in (reference, quantised))
    assert 0 < np.abs(expected - found).max() < 0.05


def test_every_weight_is_signed_and_has_the_scale_of_each_column(named, quantised):
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised.model().graph.initializer}
    weights = {name: array for name, array in tensors.items() if array.dtype == np.int8 and array.ndim == 2}
    assert len(weights) == 11
    originals = {tensor.name: numpy_helper.to_array(tensor) for tensor in named.graph.initializer}
    for name, weight in weights.items():
        original = originals[name.removesuffix("_quantized").removesuffix("__transposed")]
        is_transposed = "embed" in name or "head" in name
        columns = original.T if is_transposed else original  # those of `Gemm` have their outputs first
        levels = weight.T if is_transposed and "__transposed" not in name else weight
        scales = np.abs(columns).max(axis=0) / 127
        assert np.array_equal(tensors[name.replace("_quantized", "_scale")], scales)
        assert np.abs(levels * scales - columns).max() <= scales.max() * 0.5001


@pytest.mark.parametrize("pattern", [("left",), ("right",), ()])
def test_an_encoder_without_rows_runs_and_changes_nothing(quantised, pattern):
    run, batch = run_from_graph(quantised.path), ROWS.decoded("", ROWS.pattern_rows(ROWS.names, 3))
    found = run(only(batch, pattern, missing=0))
    assert np.isfinite(found["scores"]).all()
    assert found["presence"].tolist() == [[int(name in pattern) for name in models.NAMES]] * 3
    assert found["scores"].sum(axis=1) == pytest.approx([1.0 if pattern else 0.0] * 3, abs=1e-6)


def test_row_dispatch_is_left_as_it_was(named, quantised):
    def dispatch(model):
        kinds = ("NonZero", "Gather", "ScatterND", "Expand")
        return sorted((node.op_type, node.name, *node.output) for node in model.graph.node if node.op_type in kinds)

    assert dispatch(quantised.model()) == dispatch(named)


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_a_modality_that_stays_in_float32_has_no_integer_node(named, named_file, kind, tmp_path):
    owner = owners(named.graph, models.NAMES)
    nodes = [name for name in weighted_products(named.graph, PRODUCTS) if owner.get(name) != "right"]
    graph = make(kind, named_file, nodes, tmp_path / "model.int8.onnx").model().graph
    integer = ("MatMulInteger", "DynamicQuantizeLinear", "QuantizeLinear", "DequantizeLinear")
    theirs = owners(graph, models.NAMES)
    kinds = {name: {node.op_type for node in graph.node if theirs.get(node.name) == name} for name in models.NAMES}
    assert kinds["left"] & {*integer}
    assert not kinds["right"] & {*integer}
    assert "LayerNormalization" in kinds["right"]


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_rows_that_nothing_in_int8_computes_for_are_answered_as_in_float32(
    reference, named, named_file, kind, tmp_path
):
    owner = owners(named.graph, models.NAMES)
    nodes = [name for name in weighted_products(named.graph, PRODUCTS) if owner.get(name) == "left"]
    quantised = make(kind, named_file, nodes, tmp_path / "model.int8.onnx")
    batch = ROWS.decoded("", ROWS.pattern_rows(ROWS.names, 8))
    runs = [run_from_graph(graph.path) for graph in (reference, quantised)]
    apart = {}
    for pattern in (("left",), ("right",)):
        before, after = (run(only(batch, pattern, missing=0))["scores"] for run in runs)
        apart[pattern] = np.abs(before - after).max()
    assert apart["right",] < 1e-6
    assert apart["left",] > 1e-4


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_the_same_graph_gives_the_same_bytes(named, named_file, kind, tmp_path):
    nodes = weighted_products(named.graph, PRODUCTS)
    first, second = (make(kind, named_file, nodes, tmp_path / part / "model.int8.onnx") for part in ("a", "b"))
    assert sha256_from_file(first.path) == sha256_from_file(second.path)


def test_nothing_but_the_graph_is_left_in_its_folder(quantised):
    assert [path.name for path in quantised.path.parent.iterdir()] == ["model.int8.onnx"]


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_a_graph_with_external_weights_is_taken_by_its_path(named, kind, tmp_path):
    (tmp_path / "big").mkdir()
    big = onnx_file_from_model(named, tmp_path / "big" / "model.onnx", external_over_bytes=1)
    assert big.data_path is not None
    small = onnx_file_from_model(big.model(), tmp_path / "small.onnx")
    nodes = weighted_products(named.graph, PRODUCTS)
    graphs = [make(kind, graph, nodes, tmp_path / f"{i}" / "m.onnx") for i, graph in enumerate((big, small))]
    batch = ROWS.mixed(4)
    first, second = (run_from_graph(graph.path)(batch)["scores"] for graph in graphs)
    assert np.array_equal(first, second)


def test_only_with_static_ranges_is_a_row_indifferent_to_its_company(named, named_file, tmp_path):
    nodes = weighted_products(named.graph, PRODUCTS)
    usual = ROWS.decoded("", ROWS.pattern_rows(ROWS.names, 2))
    usual.values["left"][1] *= 40  # a neighbour far from the data
    moved = {}
    for kind in ("dynamic", "static"):
        run = run_from_graph(make(kind, named_file, nodes, tmp_path / kind / "m.onnx").path)
        first = Batch("", *({name: array[:1] for name, array in each.items()} for each in (usual.values, usual.states)))
        moved[kind] = np.abs(run(usual)["scores"][:1] - run(first)["scores"]).max()
    assert moved["static"] < 1e-6
    assert moved["dynamic"] > 1e-3


def test_a_dynamic_product_computes_what_its_formula_says(tmp_path):
    random = np.random.default_rng(0)
    weight = (random.normal(size=(16, 5)) * [1, 10, 0.1, 3, 1]).astype(np.float32)
    model = models.model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "p")], {"x": ["n", 16]}, {"y": ["n", 5]}, {"w": weight}
    )
    graph = onnx_file_from_model(model, tmp_path / "m.onnx")
    quantised = make("dynamic", graph, ["p"], tmp_path / "q" / "m.onnx")
    x = random.normal(size=(4, 16)).astype(np.float32)
    (found,) = ort.InferenceSession(quantised.path).run(None, {"x": x})
    low, high = min(x.min(), 0.0), max(x.max(), 0.0)
    scale = np.float32((high - low) / 255)
    zero = np.round(-low / scale)
    levels = np.clip(np.round(x / scale) + zero, 0, 255) - zero
    scales = np.abs(weight).max(axis=0) / 127
    expected = (levels @ np.round(weight / scales)) * scale * scales
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()
    assert np.abs(found - x @ weight).max() > 1e-3 * np.abs(expected).max()  # it is not float32 after all


def test_a_convolution_is_quantised_with_static_ranges_and_takes_no_rows_too(tmp_path):
    random = np.random.default_rng(0)
    weight = random.normal(size=(5, 2, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], "c", pads=[1, 1, 1, 1])
    model = models.model_of([node], {"x": ["n", 2, 6, 6]}, {"y": ["n", 5, 6, 6]}, {"w": weight})
    graph = onnx_file_from_model(model, tmp_path / "m.onnx")
    x = random.normal(size=(4, 2, 6, 6)).astype(np.float32)
    (tmp_path / "q").mkdir()
    rows = [Batch("", {"x": x}, {})]
    quantised = static_int8(graph, ["c"], tmp_path / "q" / "m.onnx", rows=rows, machine="cpu")
    tensors = {tensor.name: tensor for tensor in quantised.model().graph.initializer}
    assert tensors["w_quantized"].data_type == onnx.TensorProto.INT8
    assert list(tensors["w_scale"].dims) == [5]
    exact, found = (ort.InferenceSession(each.path).run(None, {"x": x})[0] for each in (graph, quantised))
    assert 0 < np.abs(exact - found).max() < 0.05 * np.abs(exact).max()
    assert ort.InferenceSession(quantised.path).run(None, {"x": x[:0]})[0].shape == (0, 5, 6, 6)


def test_for_a_gpu_activations_are_int8_about_zero_and_biases_stay(named, named_file, tmp_path):
    nodes = weighted_products(named.graph, PRODUCTS)
    graph = make("static", named_file, nodes, tmp_path / "m.onnx", machine="gpu").model().graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    zeros = [tensors[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert zeros
    assert {tensor.data_type for tensor in zeros} == {onnx.TensorProto.INT8}
    assert {int(numpy_helper.to_array(tensor).max()) for tensor in zeros} == {0}
    assert onnx.TensorProto.INT32 not in {tensor.data_type for tensor in tensors.values()}


def test_quantising_logs_nothing_and_leaves_logging_as_it_was(named, named_file, tmp_path, caplog):
    handlers = [*logging.getLogger().handlers]
    make("static", named_file, weighted_products(named.graph, PRODUCTS), tmp_path / "m.onnx")
    assert not caplog.records
    assert logging.getLogger().handlers == handlers
    assert logging.getLogger().manager.disable == logging.NOTSET
