"""The bytes of HTTP's binary tensors, against the protocol's text and tritonclient's own encoding."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import serialize_byte_tensor

from onepath.clients.http_body import body_from_inputs, bytes_from_packed, outputs_from_body, packed_from_bytes

PAYLOADS = st.lists(st.binary(max_size=300), min_size=1)


def column(*payloads: bytes) -> np.ndarray:
    array = np.empty((len(payloads), 1), dtype=object)
    array[:, 0] = payloads
    return array


def test_a_body_is_a_json_header_and_then_each_element_after_its_size() -> None:
    body, header_length = body_from_inputs({"image": column(b"\xff\x00", b""), "text": column(b"a", b"b")})
    assert (
        body[header_length:]
        == b"\x02\x00\x00\x00\xff\x00" + b"\x00\x00\x00\x00" + b"\x01\x00\x00\x00a" + b"\x01\x00\x00\x00b"
    )
    image, text = json.loads(body[:header_length])["inputs"]
    assert image == {"name": "image", "shape": [2, 1], "datatype": "BYTES", "parameters": {"binary_data_size": 10}}
    assert text["parameters"] == {"binary_data_size": 10}


@given(PAYLOADS)
def test_elements_are_packed_as_tritonclient_packs_them(payloads: list[bytes]) -> None:
    assert packed_from_bytes(column(*payloads)) == serialize_byte_tensor(column(*payloads)).item()


@given(PAYLOADS)
def test_packed_elements_come_back(payloads: list[bytes]) -> None:
    assert bytes_from_packed(packed_from_bytes(column(*payloads))).tolist() == payloads


@pytest.mark.parametrize("packed", [b"\x01", b"\x02\x00\x00\x00a", b"\xff\xff\xff\xff"])
def test_elements_that_end_too_early_are_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="ends within"):
        bytes_from_packed(packed)


def test_an_answer_may_mix_binary_tensors_and_json() -> None:
    header = json.dumps(
        {
            "outputs": [
                {"name": "scores", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
                {"name": "presence", "datatype": "UINT8", "shape": [1, 3], "data": [1, 0, 1]},
                {"name": "note", "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": 6}},
                {"name": "said", "datatype": "BYTES", "shape": [1, 1], "data": ["é"]},
            ]
        }
    ).encode()
    body = header + b"\x00\x00\x80\x3f\x00\x00\x00\x40" + b"\x02\x00\x00\x00ok"
    found = outputs_from_body(body, len(header))
    assert {name: array.tolist() for name, array in found.items()} == {
        "scores": [[1.0, 2.0]],
        "presence": [[1, 0, 1]],
        "note": [[b"ok"]],
        "said": [["é".encode()]],
    }


def test_an_answer_without_a_header_length_is_json_alone() -> None:
    body = b'{"outputs":[{"name":"scores","datatype":"FP32","shape":[2,1],"data":[0.5,0.25]}]}'
    np.testing.assert_array_equal(outputs_from_body(body, None)["scores"], np.array([[0.5], [0.25]], dtype=np.float32))


@pytest.mark.parametrize("size", [4, 12])
def test_an_answer_whose_sizes_do_not_fit_is_refused(size: int) -> None:
    header = json.dumps(
        {"outputs": [{"name": "s", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": size}}]}
    ).encode()
    with pytest.raises(ValueError, match="reshape"):
        outputs_from_body(header + bytes(size), len(header))
