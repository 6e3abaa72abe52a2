"""A graph as an engine takes it: other element types, the same numbers."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.engine.element_types import engine_model
from tests.export.engine.dispatched import graph_text

HEAD = '<ir_version: 10, opset_import: ["": 20]>'
_TAKEN = {ir.DataType[name] for name in ("BOOL", "INT32", "INT64", "FLOAT", "FLOAT16", "BFLOAT16")}


def converted(text):
    return engine_model(ir.from_onnx_text(text))


def run(model, feeds):
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    return session.run(None, feeds)


def types(values):
    return {value.name: value.dtype.name for value in values}


def test_bytes_stay_bytes_at_the_door_and_16_bit_integers_become_32_bits():
    body = "{ y = Cast<to = 1>(x) z = Cast<to = 1>(w) }"
    made = converted(f"{HEAD} g (int16[rows, 2] x, uint8[rows, 1] w) => (float[rows, 2] y, float[rows, 1] z) {body}")
    assert types(made.graph.inputs) == {"x": "INT32", "w": "UINT8"}
    x, w = np.array([[-32768, 32767]], np.int32), np.array([[255]], np.uint8)
    assert [array.tolist() for array in run(made, {"x": x, "w": w})] == [[[-32768.0, 32767.0]], [[255.0]]]


@pytest.mark.parametrize("byte", [0, 1, 127, 128, 255])
def test_every_byte_is_compared_as_it_is(byte):
    body = "{ wanted = Constant<value = uint8 {%d}>()  both = Concat<axis = 1>(x, x)  y = Equal(both, wanted) }"
    made = converted(f"{HEAD} g (uint8[rows, 1] x) => (bool[rows, 2] y) {body % byte}")
    column = np.arange(256, dtype=np.uint8).reshape(-1, 1)
    assert np.flatnonzero(run(made, {"x": column})[0][:, 0]).tolist() == [byte]


def test_bytes_at_the_end_are_cast_from_floats_under_the_same_name():
    made = converted(f"{HEAD} g (bool[rows, 1] x) => (uint8[rows, 1] y) {{ y = Cast<to = 2>(x) }}")
    (output,) = made.graph.outputs
    assert (output.name, output.dtype) == ("y", ir.DataType.UINT8)
    assert output.producer().inputs[0].dtype == ir.DataType.FLOAT
    assert run(made, {"x": np.array([[True], [False]])})[0].tolist() == [[1], [0]]


def test_narrow_integers_that_are_given_out_as_they_came_are_refused():
    with pytest.raises(UnsupportedModuleError, match="the output y in an engine"):
        converted(f"{HEAD} g (uint8[rows, 2] x) => (uint8[2, rows] y) {{ y = Transpose<perm = [1, 0]>(x) }}")


def test_nothing_inside_is_narrower_than_an_engine_computes_with():
    made = converted(graph_text())
    ends = {*made.graph.inputs, *made.graph.outputs}
    inside = [value for node in made.graph for value in (*node.inputs, *node.outputs) if value not in ends]
    assert {value.dtype for value in inside if value.dtype is not None} <= _TAKEN
    bytes_read_by = {
        usage.node.op_type for value in made.graph.inputs for usage in value.uses() if value.name != "text"
    }
    assert bytes_read_by == {"Cast"}


def test_the_whole_graph_answers_the_same():
    text = graph_text()
    generator = np.random.default_rng(0)
    feeds = {
        "image": generator.integers(0, 256, (9, 1, 4, 4)).astype(np.uint8),
        "text": generator.integers(0, 5, (9, 8)).astype(np.int32),
        **{f"{name}_state": generator.integers(0, 3, (9, 1)).astype(np.uint8) for name in ("image", "text")},
    }
    for before, after in zip(run(ir.from_onnx_text(text), feeds), run(converted(text), feeds), strict=True):
        np.testing.assert_array_equal(after, before)


def test_arithmetic_that_wraps_around_is_refused_by_node():
    with pytest.raises(UnsupportedModuleError, match="Add computes with integers of 8 or 16 bits"):
        converted(f"{HEAD} g (uint8[rows, 1] x) => (uint8[rows, 1] y) {{ y = Add(x, x) }}")
