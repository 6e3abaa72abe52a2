"""Clips and point clouds in the real server: its preprocessing models run the same plug-ins.

scores = mean(pixels) / 255 * VIDEO_WEIGHT + mean of the first points' lengths * CLOUD_WEIGHT, for what is present.
"""

import json

import numpy as np
import pytest

from onepath.clients import Client
from onepath.contract.manifest import ModalityEntry
from onepath.contract.presence import ROW_EMPTY, ROW_FAILED, ROW_OK
from onepath.contract.probes import Probe, ProbeSet
from onepath.contract.tensors import TensorSpec
from onepath.server import deploy, start_server
from tests.modalities.point_files import npy_file, ply_file, xyz_file
from tests.modalities.video_files import clip_file, moving
from tests.server.bundles import write_parts
from tests.server.calls import ask_grpc
from tests.server.conftest import FREE_PORTS, ONE_EACH

VIDEO_WEIGHT = (1.0, 2.0, 3.0)
CLOUD_WEIGHT = (3.0, -2.0, 1.0)
VIDEO = {"frames": 2, "height": 4, "width": 4, "stride": 1}
CLOUD = {"points": 4, "normalise": "none"}
GRAPH = """
<ir_version: 10, opset_import: ["": 20], producer_name: "tests">
moving (uint8[rows, 3, 2, 4, 4] clip, float[rows, 4, 3] cloud, uint8[rows, 1] clip_state, uint8[rows, 1] cloud_state)
=> (float[rows, 3] scores, uint8[rows, 2] presence, uint8[rows, 1] row_status)
<
  float[1, 3] clip_weight = {1.0, 2.0, 3.0}, float[1, 3] cloud_weight = {3.0, -2.0, 1.0},
  float scale = {255.0}, int32 one = {1}, int32 two = {2}, int64[1] columns = {1}, int64[1] axes = {2},
  int64[2] flat = {0, -1}
>
{
  clip_code = Cast<to = 6>(clip_state)
  cloud_code = Cast<to = 6>(cloud_state)
  clip_failed = Equal(clip_code, two)
  cloud_failed = Equal(cloud_code, two)
  failed = Or(clip_failed, cloud_failed)
  fine = Not(failed)
  clip_sent = Equal(clip_code, one)
  cloud_sent = Equal(cloud_code, one)
  clip_used = And(clip_sent, fine)
  cloud_used = And(cloud_sent, fine)
  used = Concat<axis = 1>(clip_used, cloud_used)
  presence = Cast<to = 2>(used)
  pixels = Cast<to = 1>(clip)
  row = Reshape(pixels, flat)
  clip_mean = ReduceMean<keepdims = 1>(row, columns)
  clip_level = Div(clip_mean, scale)
  lengths = ReduceL2<keepdims = 0>(cloud, axes)
  cloud_level = ReduceMean<keepdims = 1>(lengths, columns)
  clip_mask = Cast<to = 1>(clip_used)
  cloud_mask = Cast<to = 1>(cloud_used)
  clip_part = Mul(clip_level, clip_mask)
  cloud_part = Mul(cloud_level, cloud_mask)
  clip_scores = MatMul(clip_part, clip_weight)
  cloud_scores = MatMul(cloud_part, cloud_weight)
  scores = Add(clip_scores, cloud_scores)
  usable = Or(clip_used, cloud_used)
  unusable = Not(usable)
  empty_or_failed = Cast<to = 6>(unusable)
  failed_once_more = Cast<to = 6>(failed)
  code = Add(empty_or_failed, failed_once_more)
  row_status = Cast<to = 2>(code)
}
"""


def clip(level):
    """Return two flat frames, the second twice as bright."""
    return np.stack([np.full((4, 4, 3), level, dtype=np.uint8), np.full((4, 4, 3), 2 * level, dtype=np.uint8)])


def points(radius):
    """Return four points of one distance from the origin."""
    return np.array([[radius, 0, 0], [-radius, 0, 0], [0, radius, 0], [0, 0, -radius]], dtype=np.float32)


def scores(*, level=None, radius=None):
    """Return the scores that a row must have, computed without the graph."""
    result = np.zeros(3)
    if level is not None:
        result += 1.5 * level / 255 * np.array(VIDEO_WEIGHT)
    if radius is not None:
        result += radius * np.array(CLOUD_WEIGHT)
    return result


def modalities():
    clip_tensor = TensorSpec(name="clip", dtype="uint8", shape=(3, 2, 4, 4))
    cloud_tensor = TensorSpec(name="cloud", dtype="float32", shape=(4, 3))
    return (
        ModalityEntry(name="clip", kind="video", settings=VIDEO, limits={"max_frames": 9}, tensor=clip_tensor),
        ModalityEntry(name="cloud", kind="point_cloud", settings=CLOUD, on_bad_payload="fail", tensor=cloud_tensor),
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moving")
    payloads = {"clip": clip_file(clip(20)), "cloud": npy_file(points(0.5))}
    probe = Probe(payloads=payloads, expected=tuple(scores(level=20, radius=0.5)))
    probes = ProbeSet(output="scores", rows=(probe,))
    bundle = write_parts(
        folder / "bundle", name="moving", graph=GRAPH, weights=b"moving", probes=probes, modalities=modalities()
    )
    deploy(bundle, folder / "repository", ONE_EACH)
    with start_server(folder / "repository", FREE_PORTS) as running:
        yield running


def test_files_of_every_format_are_answered(server):
    clips = [clip_file(clip(30)), clip_file(clip(30), "libvpx", "webm"), clip_file(clip(30), "gif", "gif"), None]
    clouds = [
        npy_file(points(2)),
        ply_file(points(2), "binary_little_endian"),
        xyz_file(points(2)),
        ply_file(points(2)),
    ]
    answer = ask_grpc(server, {"clip": clips, "cloud": clouds}, "moving")
    assert answer["row_status"].ravel().tolist() == [ROW_OK] * 4
    assert answer["presence"].tolist() == [[1, 1]] * 3 + [[0, 1]]
    np.testing.assert_allclose(answer["scores"][0], scores(level=30, radius=2), atol=1e-5)
    np.testing.assert_allclose(answer["scores"][1:3], [scores(level=30, radius=2)] * 2, atol=0.3)
    np.testing.assert_allclose(answer["scores"][3], scores(radius=2), atol=1e-5)
    assert not np.allclose(answer["scores"][0], scores(level=30, radius=1), atol=0.3)


def test_arrays_of_a_python_client_are_answered(server):
    with Client(server.grpc_address) as client:
        rows = client.predict("moving", clip=[(clip(40), 25.0), None], cloud=[None, points(3)])
    np.testing.assert_allclose(rows[0].scores, scores(level=40), atol=1e-5)
    np.testing.assert_allclose(rows[1].scores, scores(radius=3), atol=1e-5)


def test_a_bad_payload_has_its_code_and_leaves_its_neighbours_as_they_were(server):
    good = {"clip": [clip_file(clip(level)) for level in (10, 20, 30, 40)], "cloud": [npy_file(points(1))] * 4}
    before = ask_grpc(server, good, "moving")
    bad = {"clip": list(good["clip"]), "cloud": list(good["cloud"])}
    bad["clip"][1] = clip_file(np.repeat(clip(20), 5, axis=0))  # ten frames
    bad["cloud"][2] = npy_file(points(np.nan))
    after = ask_grpc(server, bad, "moving")
    assert [text and json.loads(text)["code"] for text in after["clip_status"].ravel()] == [
        b"",
        "too_many_frames",
        b"",
        b"",
    ]
    assert [text and json.loads(text)["code"] for text in after["cloud_status"].ravel()] == [
        b"",
        b"",
        "not_finite",
        b"",
    ]
    assert after["row_status"].ravel().tolist() == [ROW_OK, ROW_OK, ROW_FAILED, ROW_OK]
    np.testing.assert_allclose(after["scores"][1], scores(radius=1), atol=1e-5)
    assert not after["scores"][2].any()
    for name in before:
        np.testing.assert_array_equal(after[name][[0, 3]], before[name][[0, 3]])


def test_a_row_without_a_clip_and_without_points_is_empty(server):
    answer = ask_grpc(server, {"clip": [None], "cloud": [None]}, "moving")
    assert answer["row_status"].ravel().tolist() == [ROW_EMPTY]


def test_a_damaged_clip_leaves_no_trace_in_the_servers_log(server):
    before = server.log_file.read_text()
    damaged = bytearray(clip_file(moving(6, 16, 16), "libx264"))
    start = damaged.find(b"mdat") + 800
    damaged[start : start + 60] = bytes(60)
    answer = ask_grpc(server, {"clip": [bytes(damaged)], "cloud": [None]}, "moving")
    assert json.loads(answer["clip_status"][0, 0])["code"] == "corrupt"
    assert server.log_file.read_text() == before
