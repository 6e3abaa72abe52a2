"""The Python-based backend serves any ONNX model, also one that onepath did not make."""

import numpy as np
import onnx.parser
import pytest
import tritonclient.grpc
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException

from onepath.server.control import ADMIN_HEADER
from tests.server.calls import wait_until

SQUARES = """
<ir_version: 10, opset_import: ["": 20]>
squares (float[rows, width] x) => (float[rows, width] y, int64[2] size) { y = Mul(x, x)  size = Shape(x) }
"""
PICK = """
<ir_version: 10, opset_import: ["": 20]>
pick (float[rows, 3] table, int64[rows, 1] index) => (float[rows, 1] picked) {
  picked = GatherElements<axis = 1>(table, index)
}
"""
SPELL = """
<ir_version: 10, opset_import: ["": 20]>
spell (string[rows, 1] word) => (string[rows, 1] same, bool[rows, 1] equal) {
  same = Identity(word)
  equal = Equal(word, same)
}
"""


def tensor(name, data_type, *dims):
    return f'name: "{name}" data_type: {data_type} dims: [{", ".join(map(str, dims))}]'


CONFIGS = {
    "squares": (
        SQUARES,
        f"""max_batch_size: 0
        input {{ {tensor("x", "TYPE_FP32", -1, -1)} }}
        output {{ {tensor("y", "TYPE_FP32", -1, -1)} }}
        output {{ {tensor("size", "TYPE_INT64", 2)} }}
        parameters {{ key: "execution_mode" value {{ string_value: "1" }} }}
        optimization {{ graph {{ level: 1 }} }}""",
    ),
    "pick": (
        PICK,
        f"""max_batch_size: 4
        input {{ {tensor("table", "TYPE_FP32", 3)} }}
        input {{ {tensor("index", "TYPE_INT64", 1)} }}
        output {{ {tensor("picked", "TYPE_FP32", 1)} }}
        dynamic_batching {{ max_queue_delay_microseconds: 300000 }}""",
    ),
    "spell": (
        SPELL,
        f"""max_batch_size: 4
        input {{ {tensor("word", "TYPE_STRING", 1)} }}
        output {{ {tensor("same", "TYPE_STRING", 1)} }}
        output {{ {tensor("equal", "TYPE_BOOL", 1)} }}""",
    ),
}


@pytest.fixture(scope="module")
def client(server):
    """A client of a server that has loaded three further models, which the holder of the token may do."""
    headers = {f"triton-grpc-protocol-{ADMIN_HEADER}": server.admin_token}
    with tritonclient.grpc.InferenceServerClient(server.grpc_address) as connection:
        for name, (graph, config) in CONFIGS.items():
            folder = server.repository / name
            (folder / "1").mkdir(parents=True)
            onnx.save(onnx.parser.parse_model(graph), folder / "1" / "model.onnx")
            whole = text_format.Parse(f'name: "{name}" backend: "onnxruntime" {config}', ModelConfig())
            (folder / "config.pbtxt").write_text(text_format.MessageToString(whole))
            connection.load_model(name, headers=headers)
        yield connection


def ask(client, model, arrays, types):
    inputs = []
    for (name, array), datatype in zip(arrays.items(), types, strict=True):
        inputs.append(tritonclient.grpc.InferInput(name, list(array.shape), datatype))
        inputs[-1].set_data_from_numpy(array)
    return inputs


def test_a_model_without_a_batch_axis_is_served(client):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    result = client.infer("squares", ask(client, "squares", {"x": x}, ["FP32"]))
    np.testing.assert_array_equal(result.as_numpy("y"), x * x)
    assert result.as_numpy("size").tolist() == [2, 3]


def test_an_output_that_was_not_asked_for_is_not_sent(client):
    x = np.ones((1, 1), dtype=np.float32)
    wanted = [tritonclient.grpc.InferRequestedOutput("size")]
    result = client.infer("squares", ask(client, "squares", {"x": x}, ["FP32"]), outputs=wanted)
    assert result.as_numpy("y") is None
    assert result.as_numpy("size").tolist() == [1, 1]


def test_strings_and_booleans_pass_through(client):
    words = np.array([["ein"], ["zwölf"], [""]], dtype=object)
    result = client.infer("spell", ask(client, "spell", {"word": words}, ["BYTES"]))
    assert [word.decode() for word in result.as_numpy("same").ravel()] == ["ein", "zwölf", ""]
    assert result.as_numpy("equal").ravel().tolist() == [True, True, True]


def test_a_request_that_fails_in_the_graph_leaves_the_others_of_its_batch_alone(client):
    from concurrent.futures import ThreadPoolExecutor

    table = np.array([[10.0, 20.0, 30.0]], dtype=np.float32)

    def pick(index):
        arrays = {"table": table, "index": np.array([[index]], dtype=np.int64)}
        try:
            return client.infer("pick", ask(client, "pick", arrays, ["FP32", "INT64"])).as_numpy("picked").item()
        except InferenceServerException as error:
            return error.message()

    before = runs(client, "pick")
    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(pick, [0, 1, 99, 2]))
    assert [answers[index] for index in (0, 1, 3)] == [10.0, 20.0, 30.0]
    assert "out of data bounds" in answers[2] or "index" in answers[2]
    wait_until(lambda: runs(client, "pick") > before)  # Triton counts a run a moment after its answers
    assert runs(client, "pick") - before == 1, "the four requests were meant to be one batch"


def runs(client, model):
    return int(client.get_inference_statistics(model, as_json=True)["model_stats"][0].get("execution_count", 0))
