"""Whether a bundle can be served with settings: what a CPU computes in, and how many rows a batch has."""

import numpy as np
import onnx.parser
import onnxruntime
import pytest

from onepath.server import DeploySettings, deploy
from onepath.server.fitting import (
    LACKING_ON_CPU,
    UnfitSettingsError,
    check_fit,
    precisions_that_run,
    slower_than_float32,
)
from onepath.server.variants import manifest_as_deployed, settings_in_full
from tests.export.engine import dispatched
from tests.server.bundles import MAX_BATCH_SIZE, scores, write_bundle
from tests.server.conftest import ONE_EACH

BF16 = ONE_EACH.model_copy(update={"precision": "bf16"})
FEEDS = {
    "image": np.full((1, 1, 4, 4), 204, np.uint8),
    "text": np.array([[4, 4, 4, 0, 0, 0, 0, 0]], np.int32),
    "image_state": np.ones((1, 1), np.uint8),
    "text_state": np.ones((1, 1), np.uint8),
}


def opened_on_cpu(precision):
    """Return ONNX Runtime's session of the toy graph on a CPU; it raises where it cannot run it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    model = onnx.parser.parse_model(dispatched.graph_text(precision)).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_precision_that_is_let_through_runs_on_a_cpu(precision):
    (found,) = opened_on_cpu(precision).run(["scores"], FEEDS)
    np.testing.assert_allclose(found[0], scores(level=204, text="ccc"), atol=2e-3)
    assert precision not in LACKING_ON_CPU


def test_a_precision_that_is_refused_cannot_be_loaded_on_a_cpu():
    with pytest.raises(Exception, match=r"NOT_IMPLEMENTED.*MatMul"):
        opened_on_cpu("bf16")
    assert {"bf16"} == LACKING_ON_CPU


@pytest.fixture(scope="module")
def in_bf16(tmp_path_factory):
    """A bundle with a graph in float32, which is its own choice, and one in bfloat16."""
    return dispatched.write_bundle(tmp_path_factory.mktemp("bf16") / "tiny", low="bf16")


def choosing(bundle, precision, **changes):
    """Return its manifest with another graph of it as its own choice."""
    chosen = next(graph for graph in bundle.manifest.graphs if graph.precision == precision)
    others = tuple(graph for graph in bundle.manifest.graphs if graph is not chosen)
    return bundle.manifest.model_copy(update={"graph": chosen.model_copy(update=changes), "variants": others})


def checked(manifest, given):
    full = settings_in_full(manifest, given)
    check_fit(manifest_as_deployed(manifest, full), full, given=given)


def test_a_graph_in_bfloat16_is_not_deployed_to_a_cpu(in_bf16, tmp_path):
    with pytest.raises(UnfitSettingsError, match=r"tiny in bf16 cannot be served on a CPU.*--precision fp32"):
        deploy(in_bf16, tmp_path / "repository", BF16)
    assert not (tmp_path / "repository").exists()


def test_it_is_deployed_to_a_gpu(in_bf16, tmp_path):
    deployment = deploy(in_bf16, tmp_path, BF16.model_copy(update={"kind": "gpu"}))
    assert deployment.settings["precision"] == "bf16"


def test_nor_is_a_bundle_whose_own_choice_it_is(in_bf16):
    with pytest.raises(UnfitSettingsError, match=r"--kind gpu, or with --precision fp32"):
        checked(choosing(in_bf16, "bf16"), DeploySettings())
    checked(choosing(in_bf16, "bf16"), DeploySettings(precision="fp32"))


def test_one_encoder_in_bfloat16_is_enough_to_be_refused(in_bf16):
    mixed = choosing(in_bf16, "fp32", modality_precision={"text": "bf16"})
    with pytest.raises(UnfitSettingsError, match=r"tiny in fp32, text bf16 cannot be served on a CPU"):
        checked(mixed, DeploySettings())


def test_the_precisions_that_run_are_those_of_a_kind_of_processor_the_bundles_choice_first(in_bf16):
    manifest = choosing(in_bf16, "bf16")
    assert precisions_that_run(manifest, "gpu") == ("bf16", "fp32")
    assert precisions_that_run(manifest, "cpu") == ("fp32",)


@pytest.mark.parametrize(("precision", "kind", "told"), [("fp16", "cpu", True), ("fp16", "gpu", False)])
def test_of_float16_on_a_cpu_it_is_told_that_it_gains_nothing(tmp_path, precision, kind, told):
    bundle = dispatched.write_bundle(tmp_path / "tiny", low="fp16")
    settings = settings_in_full(bundle.manifest, DeploySettings(precision=precision, kind=kind))
    assert bool(slower_than_float32(manifest_as_deployed(bundle.manifest, settings), settings)) is told


def test_a_preferred_batch_of_more_rows_than_the_graph_takes_is_refused(tmp_path):
    bundle = write_bundle(tmp_path / "tiny")
    checked(bundle.manifest, DeploySettings(preferred_batch_sizes=(2, MAX_BATCH_SIZE)))
    with pytest.raises(UnfitSettingsError, match=r"at most 8 rows at once, and a preferred batch has 9 or 64"):
        checked(bundle.manifest, DeploySettings(preferred_batch_sizes=(64, 4, 9)))


def test_of_a_bundles_own_preferred_batches_those_that_are_too_large_are_left_out(tmp_path):
    own = {"preferred_batch_sizes": [4, 64]}
    bundle = write_bundle(tmp_path / "tiny", deployment=own)
    deploy(bundle, tmp_path / "repository", DeploySettings(graph_instances=1, preprocess_instances=1))
    configs = "".join(path.read_text() for path in tmp_path.glob("repository/*/config.pbtxt"))
    assert "preferred_batch_size: 4" in configs
    assert "preferred_batch_size: 64" not in configs
