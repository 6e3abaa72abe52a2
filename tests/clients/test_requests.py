"""How the values of a call become the BYTES columns of its requests."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onepath.clients.requests import columns_from_arguments, requests_from_columns
from onepath.contract.deployment import PipelineCard
from onepath.contract.errors import RequestError
from tests.clients.triton import CARD

PIPELINE = PipelineCard.model_validate(CARD)
UNLIMITED = PIPELINE.model_copy(update={"max_batch_size": 0})


def test_every_modality_is_an_input_and_an_absent_one_is_an_empty_element() -> None:
    (inputs,) = _requests(image=[b"i", None], text=["é", "t"])
    assert {name: column.tolist() for name, column in inputs.items()} == {
        "image": [[b"i"], [b""]],
        "audio": [[b""], [b""]],
        "text": [["é".encode()], [b"t"]],
    }


def test_a_column_is_an_object_array_of_one_column() -> None:
    (inputs,) = _requests(text=["a", "b", "c"])
    assert (inputs["text"].dtype, inputs["text"].shape) == (np.dtype(object), (3, 1))


@given(st.integers(1, 30), st.integers(1, 7))
def test_requests_are_full_but_for_the_last_and_keep_the_order(rows: int, limit: int) -> None:
    card = PIPELINE.model_copy(update={"max_batch_size": limit})
    sent = [
        inputs["text"][:, 0].tolist() for inputs in requests_from_columns(card, {"text": list(map(str, range(rows)))})
    ]
    assert [text for part in sent for text in part] == [str(row).encode() for row in range(rows)]
    assert {len(part) for part in sent[:-1]} <= {limit}
    assert 1 <= len(sent[-1]) <= limit


def test_a_server_that_names_no_batch_size_gets_one_request() -> None:
    assert len(list(requests_from_columns(UNLIMITED, {"text": ["x"] * 1000}))) == 1


def test_one_value_is_a_column_of_one_row() -> None:
    columns = columns_from_arguments(PIPELINE, {"image": b"png", "audio": (np.zeros(4), 8000), "text": None})
    assert {name: len(column) for name, column in columns.items()} == {"image": 1, "audio": 1, "text": 1}


def test_columns_of_different_lengths_are_named_with_their_lengths() -> None:
    with pytest.raises(RequestError, match="image has 1, text has 3"):
        columns_from_arguments(PIPELINE, {"image": b"png", "text": ["a", "b", "c"]})


@pytest.mark.parametrize("arguments", [{}, {"image": []}, {"image": [], "text": ()}])
def test_a_call_with_no_rows_is_refused_with_the_known_modalities(arguments: dict[str, object]) -> None:
    with pytest.raises(RequestError, match="nothing was given; give values for at least one of image, audio, text"):
        columns_from_arguments(PIPELINE, arguments)


def test_an_unknown_modality_far_from_all_is_listed_without_a_guess() -> None:
    with pytest.raises(RequestError, match=r"no modality 'zzz'; it has: image, audio, text"):
        columns_from_arguments(PIPELINE, {"zzz": ["a"]})


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ({"image": [b"i", 3]}, "row 1 of image: a value of type int is not an image"),
        ({"text": ["t", None, ""]}, "row 2 of text: '' is empty"),
        ({"audio": ["nowhere.wav"]}, r"row 0 of audio: cannot read nowhere\.wav"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_by_row_and_modality(column: dict[str, list[object]], reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        _requests(**column)


def test_the_row_of_a_bad_value_is_counted_in_the_call_and_not_in_its_request() -> None:
    with pytest.raises(RequestError) as caught:
        _requests(text=["t"] * 9 + [3])
    assert (caught.value.row, caught.value.modality) == (9, "text")


def _requests(**arguments: object) -> list[dict[str, np.ndarray]]:
    return list(requests_from_columns(PIPELINE, columns_from_arguments(PIPELINE, arguments)))
