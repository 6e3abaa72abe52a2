import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.diagnosis import check_graph_is_clean, lint

HEAD = '<ir_version: 10, opset_import: ["": 20, "local": 1]> g (float[n, 4] x, bool c) => (float[n, 4] y)'


def model(body, weights="", functions="", **values) -> ir.Model:
    """A graph from its text; `values` are weights, as arrays."""
    proto = onnx.parser.parse_model(f"{HEAD} {weights} {{ {body} }} {functions}")
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in values.items())
    return ir.from_proto(proto)


def found(*args, **kwargs) -> list[tuple[str, str]]:
    return [(finding.operator, finding.name) for finding in lint(model(*args, **kwargs))]


def test_a_graph_without_any_of_it_is_clean():
    graph = model("m = MatMul(x, w)  y = Softmax(m)", w=np.eye(4, dtype=np.float32))
    assert lint(graph) == []
    check_graph_is_clean(graph)


@pytest.mark.parametrize("operator", ["DFT", "STFT", "IsNaN", "IsInf"])
def test_an_operator_of_fourier_or_nan_is_found(operator):
    assert (operator, "f") in found(f"f = {operator}(x)  y = Identity(x)")


@pytest.mark.parametrize("operator", ["LSTM", "GRU"])
def test_a_recurrent_operator_that_would_end_the_server_is_found(operator):
    assert (operator, "r") in found(f"r = {operator}<hidden_size = 4>(x, w, w)  y = Identity(x)", w=np.ones((1, 4, 4)))


def test_it_is_found_in_a_branch():
    branches = (
        "<then_branch = t () => (float[n, 4] a) { a = DFT(x) }, else_branch = e () => (float[n, 4] b) { b = Relu(x) }>"
    )
    assert found(f"y = If(c) {branches}") == [("DFT", "a")]


def test_it_is_found_in_a_function_of_the_model():
    functions = '<domain: "local", opset_import: ["": 20]> wave (v) => (w) { w = DFT(v) }'
    assert found("y = local.wave(x)", functions=functions) == [("DFT", "w")]


def test_a_cast_to_complex_numbers_is_found():
    assert ("Cast", "z") in found("z = Cast<to = 14>(x)  y = Identity(x)")


def test_complex_weights_and_inputs_are_found():
    assert ("weight", "w") in found("y = Identity(x)", w=np.ones(2, np.complex64))
    graph = model("y = Identity(x)")
    graph.graph.inputs[0].dtype = ir.DataType.COMPLEX128
    assert [(finding.operator, finding.name) for finding in lint(graph)] == [("input", "x")]


def test_nan_in_a_weight_and_in_a_constant_is_found():
    bad = np.array([1, np.nan], np.float32)
    assert found("y = Identity(x)", w=bad) == [("weight", "w")]
    graph = model("k = Constant<value_float = 1.0>()  y = Add(x, k)")
    graph.graph.node(0).attributes["value_float"] = ir.AttrFloat32("value_float", float("nan"))
    assert [(finding.operator, finding.name) for finding in lint(graph)] == [("Constant", "k")]


NEGATIVE = np.array(-np.inf, np.float32)


@pytest.mark.parametrize(
    "body",
    [
        "m = Where(c, x, mask)  y = Softmax(m)",
        "wide = Expand(mask, shape)  some = Where(c, wide, x)  m = Add(x, some)  y = Softmax(m)",
        "y = Clip(x, mask)",
        "m = Max(x, mask)  e = Exp(m)  y = Identity(e)",
    ],
    ids=["where", "added", "no bound", "exp"],
)
def test_minus_infinity_in_a_mask_is_no_finding(body):
    assert found(body, mask=NEGATIVE, shape=np.array([1, 4])) == []


@pytest.mark.parametrize(
    ("body", "operator", "name"),
    [
        ("y = Mul(x, mask)", "Mul", "y"),
        ("m = Where(c, x, mask)  y = MatMul(m, m)", "MatMul", "y"),
        ("m = Where(c, x, mask)  top = ReduceMax(m)  y = Sub(m, top)", "Sub", "y"),
        ("up = Neg(mask)  y = Add(x, up)", "Add", "y"),
    ],
    ids=["times zero", "product", "minus itself", "plus infinity"],
)
def test_minus_infinity_that_can_become_nan_is_found(body, operator, name):
    assert found(body, mask=NEGATIVE) == [(operator, name)]


def test_infinity_that_a_branch_hands_out_is_followed():
    branches = (
        "<then_branch = t () => (float a) { a = Identity(mask) }, else_branch = e () => (float b) { b = ReduceMax(x) }>"
    )
    assert found(f"k = If(c) {branches} y = Mul(x, k)", mask=NEGATIVE) == [("Mul", "y")]


def test_the_message_names_node_operator_and_what_to_do():
    with pytest.raises(UnsupportedModuleError, match=r"STFT 'f' is a Fourier transform.*real matrix products"):
        check_graph_is_clean(model("f = STFT(x)  y = Identity(x)"))
