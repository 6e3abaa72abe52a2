"""What a client reads about the server and its pipelines."""

import json

import pytest

from onepath.clients import PipelineClient
from onepath.clients.cards import card_from_json, card_from_metadata
from onepath.clients.transport import ModelMetadata
from onepath.contract.errors import RequestError, ServerUnavailableError
from tests.clients.triton import BUNDLE_ID, CARD


def test_a_server_is_ready_when_its_models_are(client: PipelineClient) -> None:
    assert client.ready()


def test_a_model_that_is_not_there_is_not_ready(client: PipelineClient) -> None:
    assert client.ready("digits")
    assert not client.ready("nothing")


def test_a_pipelines_card_says_what_it_takes_and_gives(client: PipelineClient) -> None:
    card = client.pipeline("digits")
    assert card.model_dump(mode="json") == CARD


def test_the_pipelines_are_the_models_that_have_a_card(client: PipelineClient) -> None:
    cards = client.pipelines()
    assert sorted(cards) == ["digits", "slow"]
    assert cards["slow"].bundle_id == BUNDLE_ID


def test_a_model_without_a_card_is_described_by_its_tensors(client: PipelineClient) -> None:
    card = client.pipeline("bare")
    assert [modality.name for modality in card.modalities] == ["image", "audio", "text"]
    assert (card.outputs, card.labels, card.max_batch_size) == (("scores", "embedding"), (), 4)


def test_the_card_of_a_model_that_is_not_there_lists_those_that_are(client: PipelineClient) -> None:
    with pytest.raises(RequestError, match="ready: digits, slow"):
        client.pipeline("nothing")


def test_fields_that_a_newer_server_adds_to_a_card_are_passed_over() -> None:
    newer = CARD | {"colour": "blue", "modalities": [{"name": "image", "kind": "image", "weight": 2}]}
    card = card_from_json(json.dumps(newer), "digits")
    assert [modality.name for modality in card.modalities] == ["image"]


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", json.dumps(CARD | {"max_batch_size": "many"})])
def test_a_card_that_cannot_be_read_says_so(text: str) -> None:
    with pytest.raises(ServerUnavailableError, match="the card of 'digits' cannot be read"):
        card_from_json(text, "digits")


def test_only_bytes_inputs_of_an_unknown_model_are_modalities() -> None:
    metadata = ModelMetadata(inputs=(("image", "BYTES"), ("threshold", "FP32")), outputs=("logits", "image_status"))
    card = card_from_metadata(metadata)
    assert [modality.name for modality in card.modalities] == ["image"]
    assert (card.outputs, card.task) == (("logits",), "embedding")
