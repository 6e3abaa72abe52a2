"""ONNX Runtime on a graph's file, as every part of the export opens it."""

import numpy as np
import onnx.parser
import pytest

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.graphs.onnx_file import OnnxFile
from onepath.export.proofs import Batch
from onepath.export.proving.sessions import GraphSession

DOUBLED = "y = Add(x, x) z = Neg(x)"
OF_NO_KERNEL = "low = Cast<to = 16>(x) sum = MatMul(low, low) y = Cast<to = 1>(sum) z = Neg(x)"
OF_TWO_ROWS = "two = Constant<value_ints = [2, 2]>() y = Reshape(x, two) z = Neg(x)"
ROWS = Batch("two rows", {"x": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)}, {})


def graph(tmp_path, body) -> OnnxFile:
    text = f'<ir_version: 10, opset_import: ["": 20]> g (float[n, 2] x) => (float[n, k] y, float[n, 2] z) {{ {body} }}'
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    return OnnxFile(path)


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_the_outputs_have_their_names_in_the_order_of_the_graph(tmp_path, threads):
    session = GraphSession(graph(tmp_path, DOUBLED), threads=threads)
    found = session(ROWS)
    assert session.outputs == tuple(found) == ("y", "z")
    np.testing.assert_array_equal(found["y"], [[2, 4], [6, 8]])


def test_a_graph_that_cannot_be_loaded_is_refused_with_what_to_change(tmp_path):
    with pytest.raises(UnsupportedModuleError, match=r"it cannot be loaded: .*MatMul.*; change the operation"):
        GraphSession(graph(tmp_path, OF_NO_KERNEL))


def test_one_that_cannot_be_run_is_refused_with_the_rows_that_it_was_given(tmp_path):
    with (
        GraphSession(graph(tmp_path, OF_TWO_ROWS)) as session,
        pytest.raises(UnsupportedModuleError, match=r"it cannot be run on one row: .*; let every operation take any"),
    ):
        session(Batch("one row", {"x": ROWS.values["x"][:1]}, {}))


def test_of_a_graph_that_is_tried_the_error_is_that_of_onnx_runtime(tmp_path):
    with pytest.raises(Exception, match="NOT_IMPLEMENTED") as refused:
        GraphSession(graph(tmp_path, OF_NO_KERNEL), explains=False)
    assert not isinstance(refused.value, UnsupportedModuleError)


def test_a_closed_session_runs_no_more(tmp_path):
    with GraphSession(graph(tmp_path, DOUBLED), explains=False) as session:
        session(ROWS)
    with pytest.raises(AttributeError):
        session(ROWS)
