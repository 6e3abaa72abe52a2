"""The same rows through gRPC, HTTP, curl's JSON, a plain client and Parquet: the same scores, for every pattern."""

import json
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tritonclient.grpc

from onepath.clients import Client, HttpClient
from tests.endtoend.conftest import PATTERN_IDS, PATTERNS, PROGRAM, PROJECT, RELEASED

MODALITIES = ("image", "audio", "text")
TOLERANCE = 1e-5


def columns(rows):
    return {name: [row.get(name) for row in rows] for name in MODALITIES}


@pytest.fixture(scope="session")
def grpc_scores(server, released):
    with Client(server.grpc_address) as client:
        yield lambda pattern: client.predict("digits", **columns(released.rows_of(pattern))).scores


def test_the_released_pipeline_has_rows_of_all_seven_patterns(released):
    assert [len(released.rows_of(pattern)) > 0 for pattern in PATTERNS] == [True] * 7


@pytest.mark.parametrize("pattern", PATTERNS, ids=PATTERN_IDS)
def test_http_gives_what_grpc_gives(server, released, grpc_scores, pattern):
    with HttpClient(server.http_address) as client:
        found = client.predict("digits", **columns(released.rows_of(pattern))).scores
    assert np.abs(found - grpc_scores(pattern)).max() < TOLERANCE


@pytest.mark.parametrize("pattern", PATTERNS, ids=PATTERN_IDS)
def test_a_plain_kserve_client_gives_what_ours_gives(server, released, grpc_scores, pattern):
    rows = released.rows_of(pattern)
    inputs = []
    for name in MODALITIES:
        array = np.array([[row.get(name, b"")] for row in rows], dtype=object)
        inputs.append(tritonclient.grpc.InferInput(name, list(array.shape), "BYTES"))
        inputs[-1].set_data_from_numpy(array)
    with tritonclient.grpc.InferenceServerClient(server.grpc_address) as client:
        found = client.infer("digits", inputs).as_numpy("scores")
    assert np.abs(found - grpc_scores(pattern)).max() < TOLERANCE


@pytest.mark.parametrize("pattern", PATTERNS, ids=PATTERN_IDS)
def test_curl_gives_what_grpc_gives(server, released, grpc_scores, pattern, tmp_path):
    row = released.rows_of(pattern)[0]
    arguments = []
    for name, payload in row.items():
        (tmp_path / name).write_bytes(payload)
        arguments.append(f"{name}={payload.decode()}" if name == "text" else f"{name}=@{tmp_path / name}")
    answer = subprocess.run(
        ["bash", PROJECT / "clients" / "curl.sh", *arguments],
        env={"HOST": server.http_address, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = (line for line in answer.stdout.splitlines() if line.startswith("scores "))
    found = np.array(json.loads(line.removeprefix("scores ")))
    assert np.abs(found - grpc_scores(pattern)[0]).max() < TOLERANCE


def test_curls_plain_json_gives_what_grpc_gives_for_text(server, released, grpc_scores):
    (text, *_) = [row["text"].decode() for row in released.rows_of(("text",))]
    body = {
        "inputs": [
            {"name": name, "datatype": "BYTES", "shape": [1, 1], "data": [text if name == "text" else ""]}
            for name in MODALITIES
        ]
    }
    url = f"http://{server.http_address}/v2/models/digits/infer"
    answer = subprocess.run(["curl", "-sS", url, "-d", json.dumps(body)], capture_output=True, check=True)
    outputs = {output["name"]: output["data"] for output in json.loads(answer.stdout)["outputs"]}
    assert np.abs(np.array(outputs["scores"]) - grpc_scores(("text",))[0]).max() < TOLERANCE


@pytest.fixture(scope="session")
def scored(released, tmp_path_factory):
    """All rows of all patterns, scored offline by the command line."""
    folder = tmp_path_factory.mktemp("scoring")
    rows = [row for pattern in PATTERNS for row in released.rows_of(pattern)]
    table = pa.table(
        {
            "image": pa.array([row.get("image") for row in rows], pa.binary()),
            "audio": pa.array([row.get("audio") for row in rows], pa.binary()),
            "text": pa.array([row["text"].decode() if "text" in row else None for row in rows], pa.string()),
            "pattern": pa.array(["+".join(row) for row in rows]),
        }
    )
    pq.write_table(table, folder / "rows.parquet")
    command = [PROGRAM, "score", "digits", "--repository", RELEASED, "--input", folder / "rows.parquet"]
    subprocess.run([*command, "--output", folder / "scored"], check=True, capture_output=True, cwd=folder)
    return pq.read_table(folder / "scored" / "rows.parquet").to_pylist()


@pytest.mark.parametrize("pattern", PATTERNS, ids=PATTERN_IDS)
def test_offline_scoring_gives_what_grpc_gives(scored, grpc_scores, pattern):
    found = [row for row in scored if set(row["pattern"].split("+")) == set(pattern)]
    assert np.abs(np.array([row["scores"] for row in found]) - grpc_scores(pattern)).max() < TOLERANCE
    assert {row["_presence"] for row in found} == {"+".join(pattern)}


def test_two_rows_of_one_pattern_do_differ(grpc_scores):
    scores = grpc_scores(MODALITIES)
    assert np.abs(scores[0] - scores[1]).max() > 100 * TOLERANCE
