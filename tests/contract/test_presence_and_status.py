import json

import numpy as np
import pytest

from onepath.contract.dtypes import config_from_dtype, dtype_from_triton, triton_from_dtype
from onepath.contract.errors import PayloadError
from onepath.contract.presence import pattern_from_presence, pattern_name, patterns
from onepath.contract.status import Status, bytes_from_status, status_from_bytes
from onepath.contract.tensors import state_name, status_name


def test_three_modalities_form_seven_patterns_smallest_first():
    found = patterns(["image", "audio", "text"])
    assert found == [
        ("image",),
        ("audio",),
        ("text",),
        ("image", "audio"),
        ("image", "text"),
        ("audio", "text"),
        ("image", "audio", "text"),
    ]


def test_a_pattern_is_named_by_its_modalities_and_an_empty_one_is_none():
    assert (pattern_name(["a", "b"]), pattern_name([])) == ("a+b", "none")


def test_a_failed_modality_is_not_in_the_pattern():
    assert pattern_from_presence([1, 0, 2], ["image", "audio", "text"]) == ("image",)


def test_presence_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        pattern_from_presence([1, 0], ["image", "audio", "text"])


def test_a_status_is_a_json_object_on_the_wire():
    assert json.loads(bytes_from_status(Status("corrupt", "é"))) == {"code": "corrupt", "message": "é"}


def test_no_status_is_an_empty_element_both_ways():
    assert bytes_from_status(None) == b""
    assert status_from_bytes(b"") is None


def test_a_status_comes_back_as_it_was():
    status = Status("too_large", "9 bytes, the limit is 8")
    assert status_from_bytes(bytes_from_status(status)) == status


def test_a_payload_error_becomes_a_status_with_its_code():
    class TornError(PayloadError):
        code = "torn"

    assert Status.from_error(TornError("the page is torn")) == Status("torn", "the page is torn")


def test_the_dtype_table_agrees_with_tritons_names():
    assert (triton_from_dtype("float32"), config_from_dtype("uint8")) == ("FP32", "TYPE_UINT8")
    assert dtype_from_triton("INT16") == np.int16
    assert dtype_from_triton("BYTES").kind == "O"


def test_names_on_the_wire():
    assert (state_name("image"), status_name("image")) == ("image_state", "image_status")
