"""The clients on a pipeline as `onepath deploy` writes it, against scores that are computed by hand."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onepath.clients import Client, HttpClient, PipelineClient
from onepath.contract.errors import RequestError
from onepath.server import DeploySettings, ServerSettings, deploy, start_server
from onepath.server.running import RunningServer
from tests.server.bundles import png, scores, write_bundle


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, str]]:
    folder = tmp_path_factory.mktemp("deployed")
    bundle = write_bundle(folder / "tiny")
    deploy(bundle, folder / "repository", DeploySettings(preprocess_instances=1, graph_instances=1))
    free_ports = ServerSettings(grpc_port=None, http_port=None, metrics_port=None, drain_timeout_s=1)
    with start_server(folder / "repository", free_ports) as server:
        yield server, bundle.id


@pytest.fixture(params=["grpc", "http"])
def tiny(request: pytest.FixtureRequest, deployed: tuple[RunningServer, str]) -> Iterator[PipelineClient]:
    server, _ = deployed
    with Client(server.grpc_address) if request.param == "grpc" else HttpClient(server.http_address) as client:
        yield client


def test_every_presence_pattern_has_its_scores(tiny: PipelineClient) -> None:
    found = tiny.predict("tiny", image=[png(51), None, png(204)], text=[None, "abc", "ccc"])
    expected = [scores(level=51), scores(text="abc"), scores(level=204, text="ccc")]
    np.testing.assert_allclose(found.scores, expected, atol=1e-5)
    assert [row.presence for row in found] == [("image",), ("text",), ("image", "text")]


def test_more_rows_than_a_batch_have_their_own_scores(tiny: PipelineClient) -> None:
    levels = list(range(1, 256, 13))
    found = tiny.predict("tiny", image=[png(level) for level in levels])
    np.testing.assert_allclose(found.scores, [scores(level=level) for level in levels], atol=1e-5)


def test_a_corrupt_image_says_so_and_leaves_its_neighbours_as_they_were(tiny: PipelineClient) -> None:
    whole = tiny.predict("tiny", image=[png(51), png(102), png(153), png(204)], text=["abc"] * 4)
    broken = tiny.predict("tiny", image=[png(51), png(102), b"junk", png(204)], text=["abc"] * 4)
    np.testing.assert_array_equal(np.delete(broken.scores, 2, axis=0), np.delete(whole.scores, 2, axis=0))
    np.testing.assert_allclose(broken.scores[2], scores(text="abc"), atol=1e-5)
    assert [list(row.status) for row in broken] == [[], [], ["image"], []]


def test_a_row_whose_bad_payload_fails_it_has_no_label(tiny: PipelineClient) -> None:
    row = tiny.predict("tiny", image=[png(51)], text=[b"\xff\xfe"])[0]
    assert (row.ok, row.label, row.presence) == (False, None, ())
    assert list(row.status) == ["text"]


def test_a_picture_is_the_same_as_bytes_file_array_and_pil_image(tiny: PipelineClient, tmp_path: Path) -> None:
    (tmp_path / "grey.png").write_bytes(png(102))
    forms = [png(102), tmp_path / "grey.png", str(tmp_path / "grey.png"), np.full((4, 4), 102, dtype=np.uint8)]
    found = tiny.predict("tiny", image=[*forms, Image.open(io.BytesIO(png(102)))])
    np.testing.assert_allclose(found.scores, [scores(level=102)] * 5, atol=1e-5)


def test_the_card_is_that_of_the_bundle(tiny: PipelineClient, deployed: tuple[RunningServer, str]) -> None:
    card = tiny.pipeline("tiny")
    assert [(modality.name, modality.kind) for modality in card.modalities] == [("image", "image"), ("text", "text")]
    assert (card.bundle_id, card.labels, card.max_batch_size) == (deployed[1], ("low", "middle", "high"), 8)


def test_the_inner_models_are_no_pipelines(tiny: PipelineClient) -> None:
    assert list(tiny.pipelines()) == ["tiny"]


def test_an_unknown_pipeline_is_answered_with_pipelines_only(tiny: PipelineClient) -> None:
    with pytest.raises(RequestError, match=r"did you mean 'tiny'\?\); ready: tiny$"):
        tiny.predict("tinny", text=["abc"])
