"""What a file of weights says beside its tensors, read from bytes that are written down here."""

import json

import pytest

from onepath.contract.weight_files import weight_metadata, weight_tensors

TENSORS = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def file_with(folder, header, data=bytes(8)):
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "model.safetensors"
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data)
    return path


def test_the_metadata_of_a_file_is_text_by_name_and_no_tensor(tmp_path):
    path = file_with(tmp_path, {"__metadata__": {"model": "{}", "by": "ö"}} | TENSORS)
    assert weight_metadata(path) == {"model": "{}", "by": "ö"}
    assert [(tensor.name, tensor.shape, tensor.size_bytes) for tensor in weight_tensors(path)] == [("w", (2,), 8)]


def test_a_file_that_says_nothing_has_none(tmp_path):
    assert weight_metadata(file_with(tmp_path, TENSORS)) == {}


@pytest.mark.parametrize("header", [{"__metadata__": {"a": 1}} | TENSORS, {"__metadata__": [1]}, [TENSORS], b"{", b"3"])
def test_metadata_that_is_not_text_is_refused(tmp_path, header):
    with pytest.raises(ValueError, match=r".+"):
        weight_metadata(file_with(tmp_path, header))


def test_a_file_shorter_than_its_header_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes((100).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match="length of a header"):
        weight_metadata(path)
