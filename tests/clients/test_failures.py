"""What a caller is told when a call cannot be answered."""

import time

import pytest

from onepath.clients import Client, HttpClient, PipelineClient
from onepath.contract.errors import DeadlineExceededError, OnepathError, RequestError, ServerUnavailableError
from tests.clients.triton import SLOW_S, Served


def test_an_unknown_pipeline_is_answered_with_the_ready_ones_and_the_nearest(client: PipelineClient) -> None:
    with pytest.raises(RequestError, match=r"no pipeline 'digit' .*did you mean 'digits'\?.*ready: digits, slow"):
        client.predict("digit", text=["seven"])


def test_a_name_with_a_slash_is_just_an_unknown_pipeline(client: PipelineClient) -> None:
    with pytest.raises(RequestError, match="no pipeline 'digits/versions/1' that is ready"):
        client.predict("digits/versions/1", text=["seven"])


def test_an_unknown_modality_is_answered_with_the_known_ones_and_the_nearest(client: PipelineClient) -> None:
    with pytest.raises(
        RequestError, match=r"no modality 'imge' \(did you mean 'image'\?\); it has: image, audio, text"
    ):
        client.predict("digits", imge=[b"i"])


def test_an_answer_that_takes_longer_than_the_callers_time_is_given_up(client: PipelineClient) -> None:
    started_s = time.monotonic()
    with pytest.raises(DeadlineExceededError, match=r"within 0\.3 s"):
        client.predict("slow", text=["seven"], timeout_s=0.3)
    assert time.monotonic() - started_s < SLOW_S


def test_an_answer_within_the_callers_time_is_waited_for(client: PipelineClient) -> None:
    assert client.predict("slow", text=["seven"], timeout_s=20 * SLOW_S)[0].label == "two"


def test_the_time_is_for_the_whole_call_and_not_for_each_of_its_requests(client: PipelineClient) -> None:
    with pytest.raises(DeadlineExceededError):
        client.predict("slow", text=["t"] * 12, timeout_s=2 * SLOW_S)  # three requests of one SLOW_S each


def test_a_client_is_of_use_after_a_deadline_passed(client: PipelineClient) -> None:
    with pytest.raises(DeadlineExceededError):
        client.predict("slow", text=["seven"], timeout_s=0.2)
    assert client.predict("digits", text=["seven"])[0].label == "two"


def test_the_clients_own_time_counts_where_a_call_names_none(served: object) -> None:
    for opened in (Client(served.grpc, timeout_s=0.3), HttpClient(served.http, timeout_s=0.3)):
        with opened, pytest.raises(DeadlineExceededError):
            opened.predict("slow", text=["seven"])


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_a_time_that_is_no_time_is_refused(client: PipelineClient, timeout_s: float) -> None:
    with pytest.raises(RequestError, match="positive number of seconds"):
        client.predict("digits", text=["seven"], timeout_s=timeout_s)


def test_a_server_that_is_not_there_is_named_with_what_to_do(unreachable: PipelineClient) -> None:
    with pytest.raises(ServerUnavailableError, match=r"cannot reach a server at 127\.0\.0\.1:\d+: .*onepath serve"):
        unreachable.predict("digits", text=["seven"], timeout_s=5)


def test_a_server_that_is_not_there_is_not_ready(unreachable: PipelineClient) -> None:
    assert not unreachable.ready(timeout_s=5)


@pytest.mark.parametrize("address", ["ftp://127.0.0.1:8000", "http://", ""])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(RequestError, match="is no HTTP address"):
        HttpClient(address)


@pytest.mark.parametrize("address", ["http://127.0.0.1:8001", ""])
def test_a_grpc_address_has_no_scheme(address: str) -> None:
    with pytest.raises(RequestError, match="is no gRPC address"):
        Client(address)


def test_what_another_protocol_answers_is_shown_in_printable_characters_with_a_hint(served: Served) -> None:
    with HttpClient(served.grpc, timeout_s=5) as client, pytest.raises(OnepathError) as refused:
        client.predict("digits", text="seven")
    assert str(refused.value).isprintable()
    assert "HTTP" in str(refused.value)
