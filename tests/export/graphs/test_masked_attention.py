import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from onepath.export.graphs.masked_attention import without_nan_guards

LOWEST = float(np.finfo(np.float32).min)
BODY = """
    bias = Where(mask, zero, low)  masked = Add(scores, bias)  weights = Softmax(masked)
    nan = IsNaN(weights)  y = Where(nan, zero, weights)
"""
SCORES = np.array([[1.5, -2.0, 0.25], [300.0, 7.0, -1.0], [0.0, 1.0, 2.0]], np.float32)
MASK = np.array([[True, False, True], [False, True, True], [False, False, False]])


def model(body=BODY, low=LOWEST, zero=0.0):
    head = '<ir_version: 10, opset_import: ["": 20]> g (float[n, 3] scores, bool[n, 3] mask) => (float[n, 3] y)'
    proto = onnx.parser.parse_model(f"{head} {{ {body} }}")
    constants = {"low": low, "zero": zero}
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.float32(value), name) for name, value in constants.items()
    )
    return ir.from_proto(proto)


def operators(graph):
    return sorted(node.op_type for node in graph.graph)


@pytest.mark.parametrize("low", [LOWEST, -np.inf])
@pytest.mark.parametrize("body", [BODY, BODY.replace("Add(scores, bias)", "Add(bias, scores)")])
def test_a_softmax_is_zero_where_the_mask_says_no_and_nowhere_nan(low, body):
    changed = model(body, low)
    without_nan_guards(changed)
    assert "IsNaN" not in operators(changed)
    session = ort.InferenceSession(ir.to_proto(changed).SerializeToString())
    found = session.run(None, {"scores": SCORES, "mask": MASK})[0]
    first, second = np.exp([1.5, 0.25]), np.exp([7.0, -1.0])
    expected = [[first[0], 0, first[1]] / first.sum(), [0, *(second / second.sum())], [0, 0, 0]]
    assert np.abs(found - expected).max() < 1e-6
    assert (found[~MASK] == 0).all()


@pytest.mark.parametrize(
    "other",
    [
        model(low=-100.0),
        model(zero=1.0),
        model(BODY.replace("Softmax(masked)", "Exp(masked)")),
        model(BODY.replace("Add(scores, bias)", "Mul(scores, bias)")),
        model(BODY.replace("IsNaN(weights)", "IsNaN(scores)")),
    ],
    ids=["a soft mask", "another number", "no softmax", "no mask", "another's NaN"],
)
def test_a_test_for_nan_that_means_something_else_stays(other):
    before = operators(other)
    without_nan_guards(other)
    assert operators(other) == before
    assert "IsNaN" in before
