"""A call to a real server: what arrives, what comes back, and that both transports agree."""

from pathlib import Path

import numpy as np
import pytest

from onepath.clients import Client, HttpClient, PipelineClient
from onepath.contract.status import Status
from tests.clients.triton import BUNDLE_ID, Served


def test_the_payloads_arrive_byte_for_byte_in_their_modalities(client: PipelineClient) -> None:
    row = client.predict("digits", image=[b"four"], audio=[b"\x00\xff"], text=["é"])[0]
    np.testing.assert_array_equal(row.outputs["embedding"], [4, 2, 2])


def test_the_label_is_that_of_the_highest_score(client: PipelineClient) -> None:
    row = client.predict("digits", text=["seven"])[0]
    assert (row.label, row.score) == ("two", 0.75)


def test_the_scores_are_float32_rows_of_probabilities(client: PipelineClient) -> None:
    scores = client.predict("digits", text=["abc", "a"]).scores
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, [[0.75, 0.125, 0.125], [0.125, 0.75, 0.125]])


def test_one_value_is_a_call_of_one_row(client: PipelineClient) -> None:
    assert len(client.predict("digits", text="seven")) == 1


def test_rows_of_one_call_may_lack_different_modalities(client: PipelineClient) -> None:
    rows = client.predict("digits", image=[b"i", None, None], text=[None, "t", None])
    assert [row.presence for row in rows] == [("image",), ("text",), ()]


def test_a_row_with_nothing_present_says_so_and_has_no_label(client: PipelineClient) -> None:
    row = client.predict("digits", text=[None])[0]
    assert (row.ok, row.label, row.score) == (False, None, None)
    assert row.row_status == "nothing is present in this row: every modality is absent or could not be used"


def test_a_payload_that_was_not_used_has_its_status_and_its_neighbours_none(client: PipelineClient) -> None:
    rows = client.predict("digits", image=[b"i", b"corrupt", b"i"], text=["t", "t", "t"])
    assert [row.status for row in rows] == [{}, {"image": Status("corrupt", "not a file of this kind")}, {}]
    assert rows[1].presence == ("text",)


def test_a_failed_row_says_so_and_leaves_its_neighbours_alone(client: PipelineClient) -> None:
    rows = client.predict("digits", audio=[b"a", b"corrupt"], text=["t", "t"])
    assert [row.ok for row in rows] == [True, False]
    assert rows[1].row_status.startswith("the row failed")


def test_the_bundle_of_the_answer_is_named(client: PipelineClient) -> None:
    assert client.predict("digits", text=["t"]).bundle_id == BUNDLE_ID


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 11])
def test_more_rows_than_a_batch_are_joined_in_order(client: PipelineClient, count: int) -> None:
    predictions = client.predict("digits", text=["x" * (row + 1) for row in range(count)])
    assert [row.outputs["embedding"][2] for row in predictions] == list(range(1, count + 1))


def test_files_are_read_by_path_and_by_name(client: PipelineClient, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"12345")
    rows = client.predict("digits", image=[tmp_path / "a.png", str(tmp_path / "a.png")], text=[None, "t"])
    assert [row.outputs["embedding"].tolist() for row in rows] == [[5, 0, 0], [5, 0, 1]]


def test_a_payload_of_many_megabytes_arrives_whole(client: PipelineClient) -> None:
    row = client.predict("digits", image=[bytes(20_000_000)])[0]
    assert row.outputs["embedding"][0] == 20_000_000


def test_grpc_and_http_answer_alike_for_every_presence_pattern(served: Served) -> None:
    row_values = {"image": b"corrupt picture", "audio": b"sound", "text": "seven"}
    columns = {
        name: [value if pattern >> bit & 1 else None for pattern in range(8)]
        for bit, (name, value) in enumerate(row_values.items())
    }
    with Client(served.grpc) as grpc_client, HttpClient(served.http) as http_client:
        ours, theirs = (each.predict("digits", **columns) for each in (grpc_client, http_client))
    np.testing.assert_array_equal(ours.scores, theirs.scores)
    assert [_facts(row) for row in ours] == [_facts(row) for row in theirs]


def test_a_server_without_a_card_is_called_by_its_tensors(client: PipelineClient) -> None:
    row = client.predict("bare", text=[b"seven"])[0]
    assert (row.label, row.score, row.presence) == ("2", 0.75, ("text",))


def test_a_slice_of_predictions_is_a_tuple_of_rows(client: PipelineClient) -> None:
    predictions = client.predict("digits", text=["a", "b", "c"])
    assert predictions[1:] == (predictions[1], predictions[2])


def _facts(row: object) -> dict[str, object]:
    return {name: getattr(row, name) for name in ("label", "score", "presence", "status", "row_status", "ok")}
