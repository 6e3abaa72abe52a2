"""ONNX files read without the onnx package say what that package reads in them."""

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.onnx_ml_pb2 import SparseTensorProto, TrainingInfoProto

from onepath.contract.graph_files import LEADS_TO_TENSORS, graph_tensors, outside_files
from onepath.contract.weights_in_graph import weights_in_graph
from tests.contract import small_bundle

KINDS = {
    "ModelProto": "model",
    "TrainingInfoProto": "training",
    "FunctionProto": "function",
    "GraphProto": "graph",
    "NodeProto": "node",
    "AttributeProto": "attribute",
    "SparseTensorProto": "sparse",
    "TensorProto": "tensor",
}


def test_every_field_of_the_format_that_leads_to_a_tensor_is_followed():
    messages, leading = {}, {"TensorProto"}
    waiting = [ModelProto.DESCRIPTOR]
    while waiting:
        message = waiting.pop()
        if message.name not in messages:
            inner = [field for field in message.fields if field.message_type]
            messages[message.name] = {field.number: field.message_type.name for field in inner}
            waiting += [field.message_type for field in inner]
    while grown := {name for name, fields in messages.items() if leading & set(fields.values())} - leading:
        leading |= grown
    expected = {
        KINDS[name]: {number: KINDS[inner] for number, inner in messages[name].items() if inner in leading}
        for name in leading - {"TensorProto"}
    }
    assert expected | {"tensor": {}} == LEADS_TO_TENSORS


def outside(location):
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def node(**attribute):
    return NodeProto(op_type="Constant", attribute=[AttributeProto(name="value", **attribute)])


def model(**graph):
    return ModelProto(ir_version=10, graph=GraphProto(name="g", **graph))


PLACES = {
    "initialiser": model(initializer=[outside("x")]),
    "sparse values": model(sparse_initializer=[SparseTensorProto(values=outside("x"))]),
    "sparse indices": model(sparse_initializer=[SparseTensorProto(indices=outside("x"))]),
    "attribute": model(node=[node(t=outside("x"))]),
    "attributes": model(node=[node(tensors=[TensorProto(), outside("x")])]),
    "sparse attribute": model(node=[node(sparse_tensor=SparseTensorProto(values=outside("x")))]),
    "sparse attributes": model(node=[node(sparse_tensors=[SparseTensorProto(values=outside("x"))])]),
    "subgraph": model(node=[node(g=GraphProto(initializer=[outside("x")]))]),
    "subgraphs": model(node=[node(graphs=[GraphProto(node=[node(t=outside("x"))])])]),
    "function": ModelProto(graph=GraphProto(), functions=[FunctionProto(node=[node(t=outside("x"))])]),
    "default of a function": ModelProto(
        graph=GraphProto(), functions=[FunctionProto(attribute_proto=[AttributeProto(t=outside("x"))])]
    ),
    "training": ModelProto(
        graph=GraphProto(), training_info=[TrainingInfoProto(algorithm=GraphProto(initializer=[outside("x")]))]
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_file_that_a_tensor_names_is_found_wherever_the_tensor_is(tmp_path, place):
    (tmp_path / "g.onnx").write_bytes(PLACES[place].SerializeToString())
    assert outside_files(tmp_path / "g.onnx") == {"x"}


def test_a_tensor_outside_the_file_that_names_no_file_is_refused(tmp_path):
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    (tmp_path / "g.onnx").write_bytes(model(initializer=[tensor]).SerializeToString())
    with pytest.raises(ValueError, match="in no file that it names"):
        outside_files(tmp_path / "g.onnx")


def test_of_several_locations_that_one_tensor_names_all_are_found(tmp_path):
    tensor = outside("inside.data")
    tensor.external_data.add(key="location", value="../secret")
    (tmp_path / "g.onnx").write_bytes(model(initializer=[tensor]).SerializeToString())
    assert outside_files(tmp_path / "g.onnx") == {"inside.data", "../secret"}


def test_tensors_lie_where_the_onnx_package_says(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([7], np.int64), "c": np.eye(2)}
    file = tmp_path / "g.onnx"
    initializers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    file.write_bytes(model(initializer=initializers).SerializeToString())
    data = file.read_bytes()
    found = {tensor.name: tensor for tensor in graph_tensors(file)}
    assert {name: data[each.start :][: each.size_bytes] for name, each in found.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }
    assert {name: (each.shape, each.data_type) for name, each in found.items()} == {
        "a": ((2, 3), TensorProto.FLOAT),
        "b": ((1,), TensorProto.INT64),
        "c": ((2, 2), TensorProto.DOUBLE),
    }


def varint(number):
    return bytes([number & 0x7F | 0x80, number >> 7])


def test_messages_without_end_are_refused(tmp_path):
    inner = b""
    for _ in range(40):
        for key in (b"\x32", b"\x2a", b"\x0a"):  # the graph of an attribute of a node
            inner = key + varint(len(inner)) + inner
    (tmp_path / "g.onnx").write_bytes(b"\x3a" + varint(len(inner)) + inner)
    with pytest.raises(ValueError, match="nested too deeply"):
        graph_tensors(tmp_path / "g.onnx")


@pytest.mark.parametrize("cut", range(1, len(small_bundle.GRAPH)))
def test_a_graph_that_was_cut_is_refused(tmp_path, cut):
    (tmp_path / "g.onnx").write_bytes(small_bundle.GRAPH[:cut])
    with pytest.raises(ValueError, match=r"^(it|its|at byte) "):
        graph_tensors(tmp_path / "g.onnx")


def weights_file(path, **arrays):
    from safetensors.numpy import save_file

    save_file(arrays, path)
    return path


def test_weights_are_found_in_a_graph_as_they_are_and_transposed(tmp_path):
    generator = np.random.default_rng(0)
    square, bias, lost = generator.random((3, 3), np.float32), np.ones(3, np.float32), np.full(4, 2, np.float32)
    weights = weights_file(tmp_path / "w.safetensors", square=square, plain=square.T.copy() + 1, bias=bias, lost=lost)
    initializers = [numpy_helper.from_array(array) for array in (square.T.copy(), square.T.copy() + 1, bias, lost + 1)]
    inside, beside = tmp_path / "inside.onnx", tmp_path / "beside.onnx"
    proto = model(initializer=initializers)
    inside.write_bytes(proto.SerializeToString())
    onnx.save_model(proto, beside, save_as_external_data=True, location="beside.onnx.data", size_threshold=0)
    assert not beside.read_bytes().count(square.T.tobytes())
    for graph in (inside, beside):
        found = weights_in_graph(weights, graph)
        assert (set(found.equal), found.transposed, found.missing) == ({"plain", "bias"}, ("square",), ("lost",))
