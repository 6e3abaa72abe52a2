import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import ROWS
from tests.server.bundles import scores

EXPECTED = [scores(**row) for row in ROWS]
FILES = ("--input", "rows.parquet", "--output", "scored")


def found_scores(workspace):
    return pq.read_table(workspace / "scored" / "rows.parquet")["scores"].to_pylist()


@pytest.mark.parametrize("model", ["tiny", "build/tiny"])
def test_a_bundle_scores_by_path_or_by_name(onepath, workspace, model):
    assert onepath("score", model, *FILES).exit_code == 0
    np.testing.assert_allclose(found_scores(workspace), EXPECTED, atol=1e-6)


def test_a_deployed_pipeline_scores_without_its_bundle(onepath, workspace):
    shutil.rmtree(workspace / "build")
    assert onepath("score", "tiny", *FILES).exit_code == 0
    np.testing.assert_allclose(found_scores(workspace), EXPECTED, atol=1e-6)


def test_the_repository_to_score_from_can_be_named(onepath, workspace):
    (workspace / "model_repository").rename(workspace / "served")
    (workspace / "build" / "tiny" / "probes.json").unlink()  # the bundle of this name would be refused
    assert onepath("score", "tiny", *FILES, "--repository", "served").exit_code == 0
    np.testing.assert_allclose(found_scores(workspace), EXPECTED, atol=1e-6)


def test_a_deployed_pipeline_is_verified_before_it_scores(onepath, workspace):
    (graph,) = workspace.glob("model_repository/*.graph/1/model.onnx")
    graph.write_bytes(graph.read_bytes() + b"\0")
    found = onepath("score", "tiny", *FILES, "--repository", "model_repository")
    assert found.exit_code == 1
    assert "model.onnx" in found.stderr


def test_an_unknown_model_says_where_it_was_looked_for(onepath, workspace):
    found = onepath("score", "huge", *FILES)
    assert found.exit_code == 1
    assert "no deployed pipeline huge (looked at huge, build/huge, model_repository" in found.stderr


def test_the_report_says_how_many_rows_of_which_pattern(onepath, workspace):
    stdout = onepath("score", "tiny", *FILES).stdout
    assert stdout.startswith("scored 4 rows with tiny ")
    assert [line.split() for line in stdout.splitlines()[1:4]] == [["2", "image+text"], ["1", "text"], ["1", "image"]]
    assert stdout.endswith("wrote scored/rows.parquet\n")


def test_the_report_is_json_where_asked(onepath, workspace):
    report = json.loads(onepath("score", "tiny", *FILES, "--json").stdout)
    assert (report["rows"], report["files"]) == (4, ["scored/rows.parquet"])
    assert report["rows_per_s"] > 0


def test_an_output_that_exists_is_refused_unless_overwritten(onepath, workspace):
    codes = [onepath("score", "tiny", *FILES, *more).exit_code for more in ([], [], ["--overwrite"])]
    assert codes == [0, 1, 0]


def test_options_reach_the_scorer(onepath, workspace):
    onepath("score", "tiny", *FILES, "--column", "text=text", "--prefix", "p_", "--keep-payloads", "--batch-rows", 2)
    names = pq.read_schema(workspace / "scored" / "rows.parquet").names
    assert names[:4] == ["image", "text", "p_label", "p_score"]


def test_a_provider_that_is_not_there_is_an_error(onepath, workspace):
    found = onepath("score", "tiny", *FILES, "--provider", "NoExecutionProvider")
    assert found.exit_code == 1
    assert "no working NoExecutionProvider" in found.stderr
