import json
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from onepath.contract.deployment import CONFIG_PARAMETER, PipelineCard
from onepath.contract.errors import ServerUnavailableError
from onepath.contract.presence import ROW_EMPTY, ROW_FAILED, ROW_OK
from onepath.contract.probes import Probe, ProbeSet
from onepath.server.probes import check_probes
from tests.server.bundles import LABELS, png, probe_set, scores
from tests.server.calls import STATUSES, ask, ask_grpc, ask_http, columns, wait_until

MIXED = ({"level": 10}, {"text": "abc"}, {}, {"level": 255, "text": "c"}, {"level": 0}, {"text": "a"})


def test_a_batch_that_mixes_presence_patterns_gives_each_row_its_own_scores(server):
    answer = ask_grpc(server, columns(MIXED))
    expected = [scores(**row) for row in MIXED]
    np.testing.assert_allclose(answer["scores"], expected, atol=1e-6)
    assert not np.allclose(answer["scores"], np.roll(expected, 1, axis=0), atol=1e-3)


def test_presence_says_which_modalities_were_used(server):
    assert ask_grpc(server, columns(MIXED))["presence"].tolist() == [[1, 0], [0, 1], [0, 0], [1, 1], [1, 0], [0, 1]]


def test_a_row_with_nothing_present_says_so_and_has_zeros(server):
    answer = ask_grpc(server, columns(MIXED))
    assert answer["row_status"].ravel().tolist() == [ROW_OK, ROW_OK, ROW_EMPTY, ROW_OK, ROW_OK, ROW_OK]
    assert answer["scores"][2].tolist() == [0.0, 0.0, 0.0]


def test_a_row_alone_is_answered_as_in_a_batch(server):
    together = ask_grpc(server, columns(MIXED))
    for index, row in enumerate(MIXED):
        alone = ask_grpc(server, columns([row]))
        np.testing.assert_allclose(alone["scores"][0], together["scores"][index], atol=1e-6)


def test_grpc_and_http_answer_the_same(server):
    grpc, http = ask_grpc(server, columns(MIXED)), ask_http(server, columns(MIXED))
    assert grpc.keys() == http.keys() == {"scores", "presence", "row_status", *STATUSES}
    for name, array in grpc.items():
        np.testing.assert_array_equal(array, http[name])


def test_a_corrupt_image_leaves_its_neighbours_exactly_as_they_were(server):
    rows = columns([{"level": 10}, {"level": 20}, {"level": 30, "text": "b"}, {"level": 40}])
    before = ask_grpc(server, rows)
    rows["image"][2] = b"this is no image"
    after = ask_grpc(server, rows)
    neighbours = [0, 1, 3]
    for name in before:
        np.testing.assert_array_equal(after[name][neighbours], before[name][neighbours])
    assert not np.array_equal(after["scores"][2], before["scores"][2])


def test_a_payload_that_cannot_be_decoded_counts_as_absent_and_says_why(server):
    answer = ask_grpc(server, {"image": [png(9)[:40], png(9)], "text": [b"b", b"b"]})
    status = json.loads(answer["image_status"][0, 0])
    assert status["code"]
    assert status["message"]
    assert answer["image_status"][1, 0] == b""
    assert answer["presence"].tolist() == [[0, 1], [1, 1]]
    np.testing.assert_allclose(answer["scores"][0], scores(text="b"), atol=1e-6)


def test_a_payload_that_fails_its_row_gives_zeros_and_a_row_status(server):
    answer = ask_grpc(server, {"image": [png(9), png(9)], "text": [b"\xff\xfe", b"b"]})
    assert answer["row_status"].ravel().tolist() == [ROW_FAILED, ROW_OK]
    assert answer["scores"][0].tolist() == [0.0, 0.0, 0.0]
    assert json.loads(answer["text_status"][0, 0])["code"]


def ask_concurrently(server, rows):
    """Return the answers to requests of one row each, from eight callers at once."""
    with tritonclient.grpc.InferenceServerClient(server.grpc_address) as client, ThreadPoolExecutor(8) as callers:
        return list(callers.map(lambda row: ask(tritonclient.grpc, client, "tiny", columns([row])), rows))


def test_concurrent_requests_of_different_patterns_keep_to_themselves(server):
    rows = MIXED * 10
    for row, answer in zip(rows, ask_concurrently(server, rows), strict=True):
        np.testing.assert_allclose(answer["scores"][0], scores(**row), atol=1e-6)


def test_concurrent_requests_share_runs_of_the_graph(server):
    rows, runs = graph_counts(server)
    ask_concurrently(server, MIXED * 10)
    wait_until(lambda: graph_counts(server)[0] - rows >= 60)  # Triton counts a run a moment after its answers
    assert 0 < graph_counts(server)[1] - runs < 60


def graph_counts(server):
    """Return how many rows the graph has answered, and in how many runs."""
    graph = next(name for name in server.models if name.endswith(".graph"))
    with tritonclient.grpc.InferenceServerClient(server.grpc_address) as client:
        found = client.get_inference_statistics(graph, as_json=True)["model_stats"][0]
    return int(found["inference_count"]), int(found["execution_count"])


def test_more_rows_than_the_pipeline_takes_are_refused_in_words(server):
    with pytest.raises(InferenceServerException, match="batch-size must be <= 8"):
        ask_grpc(server, columns([{"level": 1}] * 9))


def test_the_front_door_tells_clients_what_they_need(server, bundle):
    with tritonclient.grpc.InferenceServerClient(server.grpc_address) as client:
        config = client.get_model_config("tiny").config
    card = PipelineCard.model_validate_json(config.parameters[CONFIG_PARAMETER].string_value)
    assert card.bundle_id == bundle.id
    assert card.labels == LABELS
    assert [(modality.name, modality.kind) for modality in card.modalities] == [("image", "image"), ("text", "text")]
    assert (card.outputs, card.max_batch_size) == (("scores",), 8)


def test_a_server_that_is_ready_has_passed_every_probe(server):
    (report,) = server.reports
    assert (report.front_door, report.rows) == ("tiny", 3)
    assert report.max_abs_error <= 1e-5
    assert report.alone_latency_ms > 0
    assert report.together_latency_ms > 0


def test_probes_are_checked_against_their_own_answers(server, bundle):
    report = check_probes(server.grpc_address, "tiny", probe_set(offset=5e-6), bundle.manifest)
    assert report.max_abs_error == pytest.approx(5e-6, abs=1e-6)


def test_a_probe_whose_payload_cannot_be_used_fails_with_the_reason(server, bundle):
    damaged = Probe(payloads={"image": b"no image", "text": b"a"}, expected=tuple(scores(text="a")))
    probes = ProbeSet(output="scores", rows=(damaged,))
    with pytest.raises(ServerUnavailableError, match=r"probe 0 \(image\+text\).*presence \[0, 1\].*image: \{.*code"):
        check_probes(server.grpc_address, "tiny", probes, bundle.manifest)


def test_an_answer_with_nan_expected_never_passes(server, bundle):
    hopeless = Probe(payloads={"text": b"a"}, expected=(float("nan"), 0.0, 0.0))
    with pytest.raises(ServerUnavailableError, match=r"probe 0 \(text\) is off by nan"):
        check_probes(server.grpc_address, "tiny", ProbeSet(output="scores", rows=(hopeless,)), bundle.manifest)


def test_a_probe_that_is_not_answered_names_its_pattern(server, bundle):
    with pytest.raises(ServerUnavailableError, match=r"image, text, image\+text.* was not answered .*unknown model"):
        check_probes(server.grpc_address, "nobody", probe_set(), bundle.manifest)


def test_warm_up_has_run_before_a_server_is_ready(server):
    with tritonclient.grpc.InferenceServerClient(server.grpc_address) as client:
        graph = next(name for name in server.models if name.endswith(".graph"))
        assert client.get_model_config(graph).config.model_warmup[0].inputs["image_state"].input_data_file == "state"
    assert "warmup error" not in server.log_file.read_text().lower()


@pytest.mark.parametrize("change", ["load", "unload"])
def test_nobody_can_change_the_models_without_the_token(server, change):
    with (
        tritonclient.grpc.InferenceServerClient(server.grpc_address) as client,
        pytest.raises(InferenceServerException, match="restricted"),
    ):
        (client.load_model if change == "load" else client.unload_model)("tiny")


def test_nobody_can_change_the_models_over_http_without_the_token(server):
    with (
        tritonclient.http.InferenceServerClient(server.http_address) as client,
        pytest.raises(InferenceServerException, match="restricted"),
    ):
        client.load_model("tiny")


def test_nobody_can_map_shared_memory_without_the_token(server):
    with (
        tritonclient.grpc.InferenceServerClient(server.grpc_address) as client,
        pytest.raises(InferenceServerException, match="restricted"),
    ):
        client.register_system_shared_memory("region", "/region", 16)


def test_rows_of_one_request_are_answered_in_order(server):
    levels = list(range(0, 256, 32))
    answer = ask_grpc(server, columns([{"level": level} for level in levels]))
    assert all(one < two for one, two in pairwise(answer["scores"][:, 0]))
