import logging
import math
import re
from collections import Counter

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest

from onepath.contract.errors import ParityError
from onepath.contract.proofs import Measurement
from onepath.export.graphs.onnx_file import OnnxFile, onnx_file_from_model
from onepath.export.passes import PASSES, GraphPass, GraphSize, fold, fuse, pays, run_passes
from onepath.export.targets import targets_from_names

TOLERANCE = 1e-5
GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.normal(size=(6, 8)).astype(np.float32)
WEIGHT = GENERATOR.normal(size=(8, 8)).astype(np.float32)


def graph(path, body, opset=20, **values) -> OnnxFile:
    """A graph from x to y by its text; `values` are weights, as arrays."""
    head = f'<ir_version: 10, opset_import: ["": {opset}]> g (float[rows, 8] x) => (float[rows, 8] y)'
    proto = onnx.parser.parse_model(f"{head} {{ {body} }}")
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in values.items()
    )
    return onnx_file_from_model(proto, path / "model.onnx")


def answer(file: OnnxFile, rows=ROWS) -> np.ndarray:
    return ort.InferenceSession(str(file.path)).run(None, {"x": rows})[0]


def operators(file: OnnxFile) -> Counter:
    return Counter(node.op_type for node in file.model().graph.node)


def prove(before: OnnxFile, after: OnnxFile) -> tuple[Measurement, ...]:
    error = float(np.abs(answer(before) - answer(after)).max())
    if not error <= TOLERANCE:
        raise ParityError("the pass", error=error, tolerance=TOLERANCE, where="six rows")
    return (Measurement(inputs="six rows", error=error, tolerance=TOLERANCE),)


@pytest.fixture
def plain(tmp_path):
    return graph(tmp_path, "m = MatMul(x, w)  y = Add(m, b)", w=WEIGHT, b=WEIGHT[0])


@pytest.fixture
def other(tmp_path):
    (tmp_path / "other").mkdir()
    return tmp_path / "other" / "model.onnx"


def test_folding_computes_constants_and_leaves_out_what_nothing_reads(tmp_path, other):
    body = "t = Transpose(w)  u = Mul(t, two)  m = MatMul(x, u)  dead = Relu(m)  y = Identity(m)"
    before = graph(tmp_path, body, w=WEIGHT, two=np.float32(2), unread=WEIGHT)
    after = fold(before, other)
    assert set(operators(after)) <= {"MatMul", "Identity"}
    assert len(after.model().graph.initializer) == 1
    assert np.allclose(answer(after), ROWS @ (2 * WEIGHT.T), atol=1e-5)


def test_folding_keeps_one_of_equal_weights(tmp_path, other):
    before = graph(tmp_path, "m = MatMul(x, v)  y = MatMul(m, w)", v=WEIGHT, w=WEIGHT)
    after = fold(before, other)
    assert [tensor.dims for tensor in after.model().graph.initializer] == [[8, 8]]
    assert np.allclose(answer(after), ROWS @ WEIGHT @ WEIGHT, atol=1e-4)


@pytest.mark.parametrize(
    ("body", "made", "expected"),
    [
        ("m = MatMul(x, w)  y = Add(m, b)", {"Gemm": 1}, lambda x: x @ WEIGHT + WEIGHT[0]),
        (
            "s = Transpose<perm = [1, 0]>(x)  t = Transpose<perm = [1, 0]>(s)  y = Relu(t)",
            {"Relu": 1},
            lambda x: np.maximum(x, 0),
        ),
        (
            "m = ReduceMean<keepdims = 1>(x, last)  d = Sub(x, m)  q = Mul(d, d)  v = ReduceMean<keepdims = 1>(q, last)"
            "  e = Add(v, small)  r = Sqrt(e)  n = Div(d, r)  g = Mul(n, b)  y = Add(g, b)",
            {"LayerNormalization": 1},
            lambda x: (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) * WEIGHT[0] + WEIGHT[0],
        ),
        (
            "s = Div(x, root)  e = Erf(s)  p = Add(one, e)  h = Mul(x, half)  y = Mul(h, p)",
            {"Gelu": 1},
            lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / np.sqrt(2))),
        ),
        ("a = Cast<to = 1>(x)  y = Relu(a)", {"Relu": 1}, lambda x: np.maximum(x, 0)),
    ],
    ids=["gemm", "transposes", "layer norm", "gelu", "cast"],
)
def test_fusing_makes_one_operator_of_a_pattern_and_the_answer_stays(tmp_path, other, body, made, expected):
    constants = {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5), "small": np.float32(1e-5)}
    weights = {"w": WEIGHT, "b": WEIGHT[0], "last": np.array([-1])} | constants
    after = fuse(graph(tmp_path, body, **weights), other)
    assert operators(after) == made
    assert np.allclose(answer(after), expected(ROWS.astype(np.float64)), atol=1e-5)


def test_gelu_is_left_alone_where_the_operator_set_has_none(tmp_path, other):
    body = "s = Div(x, root)  e = Erf(s)  p = Add(e, one)  h = Mul(x, half)  y = Mul(h, p)"
    constants = {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)}
    assert operators(fuse(graph(tmp_path, body, opset=18, **constants), other))["Erf"] == 1


def test_row_dispatch_keeps_its_gather_and_scatter(tmp_path, other):
    body = (
        "here = Greater(first, zero)  at = NonZero(here)  index = Squeeze(at, axis)  some = Gather(x, index)"
        "  m = MatMul(some, w)  coded = Add(m, b)  spot = Unsqueeze(index, back)  y = ScatterND(x, spot, coded)"
    )
    start = "first0 = Gather<axis = 1>(x, zeroth)  first = Squeeze(first0, back)  "
    weights = {"w": WEIGHT, "b": WEIGHT[0], "zero": np.float32(0)}
    weights |= {"axis": np.array([0]), "back": np.array([1]), "zeroth": np.array([0])}
    before = graph(tmp_path, start + body, **weights)
    after = fuse(before, other)
    assert operators(after) == operators(before) - Counter(MatMul=1, Add=1) + Counter(Gemm=1)
    assert np.allclose(answer(after), answer(before), atol=1e-5)


def test_a_pass_that_is_proved_and_pays_is_kept_with_its_proof(plain, tmp_path):
    (result,) = run_passes(plain, PASSES[1:], prove=prove, work=tmp_path / "work", notes={"engine": "here"})
    assert result.kept
    assert result.file.path == tmp_path / "work" / "fuse" / "model.onnx"
    assert (result.proof.step, result.proof.subject) == ("fuse", "graph")
    assert (result.proof.reads, result.proof.writes) == (plain.digest, result.file.digest)
    assert result.proof.measurements[0].tolerance == TOLERANCE
    assert result.proof.notes == {"engine": "here", "nodes_before": 2, "nodes_after": 1}
    assert result.as_json() == {
        "pass": "fuse",
        "kept": True,
        "reason": "1 nodes and 288 bytes of weights after it, 2 nodes and 288 bytes of weights before",
        "nodes_before": 2,
        "bytes_before": 288,
        "nodes_after": 1,
        "bytes_after": 288,
    }


def test_each_pass_starts_from_the_one_before_it_that_was_kept(tmp_path):
    body = "t = Transpose(w)  m = MatMul(x, t)  y = Add(m, b)"
    first, second = run_passes(
        graph(tmp_path, body, w=WEIGHT, b=WEIGHT[0]), PASSES, prove=prove, work=tmp_path / "work"
    )
    assert (first.kept, second.kept) == (True, True)
    assert second.proof.reads == first.proof.writes
    assert operators(second.file) == {"Gemm": 1}


def test_the_same_graph_passes_to_the_same_bytes(plain, tmp_path):
    digests = {run_passes(plain, PASSES, prove=prove, work=tmp_path / name)[-1].file.digest for name in "ab"}
    assert len(digests) == 1


def test_weights_beside_the_graph_stay_beside_it(plain, tmp_path, other):
    (tmp_path / "beside").mkdir()
    beside = onnx_file_from_model(plain.model(), tmp_path / "beside" / "model.onnx", external_over_bytes=10)
    after = fuse(beside, other)
    assert after.data_path is None or after.data_path.name == "model.onnx.data"
    assert (beside.data_path is None) == (after.data_path is None)


def changed(change):
    """A pass that fuses, and then changes the model."""

    def run(file: OnnxFile, path) -> OnnxFile:
        model = fuse(file, path).model()
        change(model)
        return onnx_file_from_model(model, path)

    return GraphPass("fuse", run)


def off_by_one_percent(model):
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == "w")
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * np.float32(1.01), "w"))


def another_output(model):
    model.graph.output[0].name = model.graph.node[-1].output[0] = "z"


def a_fourier_transform(model):
    model.graph.node.append(onnx.helper.make_node("DFT", ["x"], ["spectrum"], "wave"))


def a_domain_of_its_own(model):
    model.opset_import.append(onnx.helper.make_opsetid("my.own", 1))
    model.graph.node[-1].domain = "my.own"


def a_shape_that_does_not_fit(model):
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == "w")
    weight.dims[:] = [4, 16]


def one_node_more(model):
    model.graph.node[-1].output[0] = "z"
    model.graph.node.append(onnx.helper.make_node("Neg", ["z"], ["minus"]))
    model.graph.node.append(onnx.helper.make_node("Neg", ["minus"], ["y"]))


def nothing(model):
    pass


def test_a_pass_that_finds_nothing_is_left_out_without_a_warning(plain, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        (result,) = run_passes(plain, [GraphPass("fold", fold)], prove=prove, work=tmp_path / "work")
    assert (result.kept, result.reason) == (False, "it finds nothing to gain in 2 nodes and 288 bytes of weights")
    assert {record.levelname for record in caplog.records if record.name.startswith("onepath")} == {"INFO"}


@pytest.mark.parametrize(
    ("graph_pass", "reason"),
    [
        (changed(off_by_one_percent), r"changes the result by 0\.0\d+ and may by 1e-05"),
        (changed(another_output), "changes the graph's inputs or outputs"),
        (changed(a_fourier_transform), "DFT 'wave' is a Fourier transform"),
        (changed(a_domain_of_its_own), r"domain 'my\.own' is not known to be in triton-24\.10"),
        (changed(a_shape_that_does_not_fit), "does not run"),
        (changed(one_node_more), "does not pay: 3 nodes and 288 bytes"),
        (GraphPass("fuse", lambda file, path: 1 / 0), "it failed: ZeroDivisionError"),
    ],
    ids=["one percent", "output", "fourier", "domain", "does not run", "no gain", "error"],
)
def test_a_pass_that_must_not_be_kept_is_dropped_with_the_reason(plain, tmp_path, caplog, graph_pass, reason):
    targets = targets_from_names(["triton-24.10"])
    with caplog.at_level(logging.WARNING):
        (result,) = run_passes(plain, [graph_pass], prove=prove, work=tmp_path / "work", targets=targets)
    assert (result.kept, result.proof, result.file) == (False, None, plain)
    assert result.reason in caplog.text
    assert re.search(reason, result.reason)


def test_the_same_pass_without_the_change_is_kept(plain, tmp_path):
    (result,) = run_passes(plain, [changed(nothing)], prove=prove, work=tmp_path / "work")
    assert result.kept


@pytest.mark.parametrize(
    ("nodes", "size", "worth"),
    [(9, 1000, True), (10, 999, True), (10, 1000, False), (9, 1011, False), (11, 500, False)],
)
def test_what_pays_is_fewer_nodes_or_fewer_bytes_and_not_more_of_the_other(nodes, size, worth):
    assert pays(GraphSize(10, 1000), GraphSize(nodes, size)) is worth
