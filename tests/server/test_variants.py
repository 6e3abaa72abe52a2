"""Which graph of a bundle is deployed, with whose settings, and how far from the stored answers it may be."""

import dataclasses
import json

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from onepath.contract.errors import BundleIntegrityError, ServerUnavailableError
from onepath.contract.proofs import Measurement
from onepath.scoring import LocalEngine
from onepath.server import DeploySettings, check_probes, deploy, start_server, verify_repository
from onepath.server.settings import usable_cores
from onepath.server.variants import MissingVariantError, manifest_as_deployed, settings_in_full
from tests.server.bundles import IMAGE_WEIGHT, scores, write_bundle
from tests.server.calls import ask_grpc, columns
from tests.server.conftest import FREE_PORTS, ONE_EACH

COARSE = (1.0, 2.0, 3.02)
INT8 = ONE_EACH.model_copy(update={"precision": "int8"})


@pytest.fixture(scope="module")
def coarse(tmp_path_factory):
    """A bundle with a second graph, of other weights, whose gate lets it be 0.05 off."""
    return write_bundle(tmp_path_factory.mktemp("coarse") / "tiny", variants={"int8": COARSE}, gate=0.05)


def graph_folder(repository):
    (path,) = repository.glob("tiny.*.graph/1")
    return path


def deployed_scores(repository, level):
    """Return what the deployed file answers for one image of a grey level."""
    session = onnxruntime.InferenceSession(graph_folder(repository) / "model.onnx")
    feeds = {
        "image": np.full((1, 1, 4, 4), level, np.uint8),
        "text": np.zeros((1, 8), np.int32),
        "image_state": np.ones((1, 1), np.uint8),
        "text_state": np.zeros((1, 1), np.uint8),
    }
    return session.run(["scores"], feeds)[0][0]


def test_the_bundles_own_graph_is_deployed_unless_another_is_asked_for(coarse, tmp_path):
    deploy(coarse, tmp_path, ONE_EACH.model_copy(update={"precision": None}))
    assert (graph_folder(tmp_path) / "model.onnx").read_bytes() == coarse.graph_path.read_bytes()
    np.testing.assert_allclose(deployed_scores(tmp_path, 255), IMAGE_WEIGHT, atol=1e-6)


def test_a_precision_picks_the_graph_that_has_it_with_its_weights_beside_it(coarse, tmp_path):
    deploy(coarse, tmp_path, INT8)
    assert sorted(path.name for path in graph_folder(tmp_path).iterdir()) == ["int8.onnx.data", "model.onnx"]
    np.testing.assert_allclose(deployed_scores(tmp_path, 255), COARSE, atol=1e-6)


def test_two_precisions_of_one_bundle_have_models_of_different_names(coarse, tmp_path):
    both = [deploy(coarse, tmp_path / settings.precision, settings) for settings in (ONE_EACH, INT8)]
    assert set(both[0].models).isdisjoint(both[1].models)


def test_asking_for_the_bundles_own_precision_changes_nothing(coarse, tmp_path):
    unsaid = ONE_EACH.model_copy(update={"precision": None})
    assert deploy(coarse, tmp_path, unsaid) == deploy(coarse, tmp_path, ONE_EACH)


def test_a_precision_that_the_bundle_lacks_is_refused_with_those_that_it_has(coarse, tmp_path):
    with pytest.raises(
        MissingVariantError, match=r"no graph in bf16; it has fp32, int8; .*--precision bf16"
    ) as refused:
        deploy(coarse, tmp_path / "repository", ONE_EACH.model_copy(update={"precision": "bf16"}))
    assert refused.value.available == ("fp32", "int8")
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize("name", ["model.onnx", "int8.onnx.data"])
def test_a_changed_file_of_a_variant_is_refused(coarse, tmp_path, name):
    deploy(coarse, tmp_path, INT8)
    verify_repository(tmp_path)
    path = graph_folder(tmp_path) / name
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(BundleIntegrityError, match=name):
        verify_repository(tmp_path)


def test_a_record_of_a_precision_that_the_bundle_lacks_is_refused(coarse, tmp_path):
    from tests.server.test_forged_records import write_record

    deploy(coarse, tmp_path, INT8)
    record = json.loads((tmp_path / "tiny/1/deployment.json").read_text())
    write_record(tmp_path, record | {"settings": record["settings"] | {"precision": "fp16"}})
    with pytest.raises(BundleIntegrityError, match=r"deployment\.json .*no graph in fp16"):
        verify_repository(tmp_path)


@pytest.fixture(scope="module")
def served(coarse, tmp_path_factory):
    """A server of the variant."""
    repository = tmp_path_factory.mktemp("served") / "repository"
    deploy(coarse, repository, INT8)
    with start_server(repository, FREE_PORTS) as server:
        yield server


def test_the_probes_of_a_variant_are_held_to_its_own_gate(served):
    (report,) = served.reports
    assert report.tolerance == pytest.approx(0.05)
    assert report.max_abs_error == pytest.approx(204 / 255 * 0.02, rel=1e-3)


def test_a_variant_answers_as_its_own_weights_do(served):
    answer = ask_grpc(served, columns([{"level": 255}]))
    np.testing.assert_allclose(answer["scores"][0], scores(level=255, image_weight=COARSE), atol=1e-5)


def test_a_variant_that_is_farther_off_than_its_gate_is_not_ready(served, coarse, tmp_path):
    strict = write_bundle(tmp_path / "tiny", variants={"int8": COARSE}, gate=0.01)
    manifest = manifest_as_deployed(strict.manifest, INT8)
    with pytest.raises(ServerUnavailableError, match=r"is off by 0\.016, over 0\.01"):
        check_probes(served.grpc_address, "tiny", coarse.probes, manifest)


def test_a_variant_that_is_farther_off_than_it_was_seen_to_be_is_not_ready(served, coarse):
    proofs = [proof if proof.step != "precision" else seen_on_probes(proof, 0.002) for proof in coarse.manifest.proofs]
    manifest = manifest_as_deployed(coarse.manifest.model_copy(update={"proofs": tuple(proofs)}), INT8)
    with pytest.raises(ServerUnavailableError, match=r"is off by 0\.016, over 0\.005"):
        check_probes(served.grpc_address, "tiny", coarse.probes, manifest)


def seen_on_probes(proof, error):
    """Return a proof that was measured on the golden probes as well."""
    on_probes = Measurement(inputs="golden probes, onnx to precision:int8", error=error, tolerance=0.05)
    return proof.model_copy(update={"measurements": (*proof.measurements, on_probes)})


class TestTheBundlesOwnSettings:
    @pytest.fixture(scope="class")
    @staticmethod
    def tuned(tmp_path_factory):
        own = {"precision": "int8", "graph_instances": 3, "intra_op_threads": 2, "preferred_batch_sizes": [4, 2]}
        path = tmp_path_factory.mktemp("tuned") / "tiny"
        return write_bundle(path, variants={"int8": COARSE}, gate=0.05, deployment=own)

    def test_are_taken_where_nothing_is_said(self, tuned, tmp_path):
        deploy(tuned, tmp_path)
        config = text_format.Parse((graph_folder(tmp_path).parent / "config.pbtxt").read_text(), ModelConfig())
        assert config.instance_group[0].count == 3
        assert config.parameters["intra_op_thread_count"].string_value == "2"
        assert list(config.dynamic_batching.preferred_batch_size) == [2, 4]
        np.testing.assert_allclose(deployed_scores(tmp_path, 255), COARSE, atol=1e-6)

    def test_yield_to_what_is_said_one_by_one(self, tuned):
        full = settings_in_full(tuned.manifest, DeploySettings(graph_instances=1, precision="fp32"))
        assert (full.graph_instances, full.precision, full.intra_op_threads) == (1, "fp32", 2)

    def test_for_a_cpu_say_nothing_of_a_gpu(self, tuned):
        own = {"kind": "cpu", "precision": "int8", "graph_instances": 3, "intra_op_threads": 2}
        manifest = tuned.manifest.model_copy(update={"deployment": own})
        found = [settings_in_full(manifest, DeploySettings(kind=kind)) for kind in ("gpu", "cpu")]
        assert [(each.graph_instances, each.precision, each.intra_op_threads) for each in found] == [
            (1, "fp32", 1),
            (3, "int8", 2),
        ]

    def test_leave_what_they_do_not_say_to_this_machine(self, tuned):
        assert settings_in_full(tuned.manifest, None).preprocess_instances == usable_cores()

    @pytest.mark.parametrize("own", [{"graph_instances": 0}, {"thread": 1}, {"precision": "int4"}])
    def test_are_refused_where_they_are_none(self, tuned, own):
        manifest = tuned.manifest.model_copy(update={"deployment": own})
        with pytest.raises(BundleIntegrityError, match=rf"deployment settings.*{next(iter(own))}"):
            settings_in_full(manifest, None)


def test_offline_scoring_finds_the_weights_beside_the_graph(coarse):
    chosen = coarse.manifest.model_copy(
        update={"graph": coarse.manifest.variants[0], "variants": (coarse.manifest.graph,)}
    )
    payloads = {"image": [columns([{"level": 255}])["image"][0]]}
    with LocalEngine(dataclasses.replace(coarse, manifest=chosen)) as engine:
        found = engine.run(payloads).outputs["scores"][0]
    np.testing.assert_allclose(found, COARSE, atol=1e-6)
