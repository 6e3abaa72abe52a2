"""Engines in the place of a graph: which files and configurations they have, and when they are taken.

No TensorRT has run any of it here. The engines are ONNX files, and the pipeline in parts is served as such.
"""

import shutil

import pytest
import tritonclient.grpc
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from onepath.contract.bundle import open_bundle
from onepath.contract.errors import BundleIntegrityError, ServerUnavailableError
from onepath.contract.manifest import ModalityEntry
from onepath.contract.probe_tolerances import probe_tolerance
from onepath.contract.tensors import TensorSpec
from onepath.export.engine import EngineRequest, build_engine
from onepath.server import DeploySettings, check_probes, deploy, start_server, verify_repository
from onepath.server.configs import preprocess_config
from onepath.server.control import ADMIN_HEADER
from onepath.server.variants import MissingVariantError, manifest_as_deployed, settings_in_full
from tests.export.engine import dispatched
from tests.export.engine.standin import StandIn
from tests.server.conftest import FREE_PORTS

GPU = DeploySettings(kind="gpu", precision="fp16", preprocess_instances=1)
REQUIRED = GPU.model_copy(update={"engine": "require"})


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return dispatched.write_bundle(tmp_path_factory.mktemp("plain") / "tiny")


def with_engines(bundle, folder, *capabilities, split=False):
    shutil.copytree(bundle.path, folder)
    for capability in capabilities:
        build_engine(folder, EngineRequest("fp16", opt_rows=4, split=split), StandIn(capability))
    return open_bundle(folder)


@pytest.fixture(scope="module")
def whole(plain, tmp_path_factory):
    """A bundle with engines of its graph in float16 for two kinds of GPU."""
    return with_engines(plain, tmp_path_factory.mktemp("whole") / "tiny", "9.0", "8.6")


@pytest.fixture(scope="module")
def parts(plain, tmp_path_factory):
    """A bundle with an engine in parts."""
    return with_engines(plain, tmp_path_factory.mktemp("parts") / "tiny", "9.0", split=True)


@pytest.fixture
def gpus(tmp_path, monkeypatch):
    """Return what puts GPUs into this machine, as far as NVIDIA's driver says."""

    def put(*capabilities):
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir(exist_ok=True)
        program.write_text("\n".join(["#!/bin/sh", *(f"echo '{each}'" for each in capabilities), ""]))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent), prepend=":")

    return put


def config(repository, model):
    return text_format.Parse((repository / model / "config.pbtxt").read_text(), ModelConfig())


def graph_of(repository):
    (path,) = repository.glob("tiny.*.graph")
    return config(repository, path.name)


class TestAWholeEngine:
    @pytest.fixture(scope="class")
    @staticmethod
    def repository(whole, tmp_path_factory):
        repository = tmp_path_factory.mktemp("engines") / "repository"
        deploy(whole, repository, REQUIRED)
        return repository

    def test_is_chosen_by_triton_by_the_gpus_compute_capability(self, repository):
        graph = graph_of(repository)
        assert graph.backend == "tensorrt"
        assert dict(graph.cc_model_filenames) == {"8.6": "sm86.plan", "9.0": "sm90.plan"}
        assert graph.default_model_filename == ""

    def test_lies_beside_those_for_other_gpus(self, repository, whole):
        (folder,) = repository.glob("tiny.*.graph/1")
        assert {file.name for file in folder.iterdir()} == {"sm86.plan", "sm90.plan"}
        built = whole.path / "engines/sm90/fp16/graph.plan"
        assert (folder / "sm90.plan").read_bytes() == built.read_bytes()

    def test_has_the_graphs_inputs_and_outputs_and_runs_on_a_gpu(self, repository):
        graph = graph_of(repository)
        assert [tensor.name for tensor in graph.input] == ["image", "text", "image_state", "text_state"]
        assert [tensor.name for tensor in graph.output] == ["scores", "presence", "row_status"]
        assert (graph.instance_group[0].kind, graph.instance_group[0].count) == (ModelInstanceGroup.KIND_GPU, 1)
        assert not graph.parameters

    def test_is_verified_like_any_pipeline(self, repository, tmp_path):
        verify_repository(repository)
        shutil.copytree(repository, tmp_path / "r")
        (plan,) = tmp_path.glob("r/tiny.*.graph/1/sm86.plan")
        plan.write_bytes(plan.read_bytes()[:-1] + b"\0")
        with pytest.raises(BundleIntegrityError, match=r"sm86\.plan"):
            verify_repository(tmp_path / "r")

    def test_is_not_started_by_a_triton_without_the_backend_for_it(self, repository):
        with pytest.raises(ServerUnavailableError, match=r"tiny is deployed as a TensorRT engine.*--engine never"):
            start_server(repository, FREE_PORTS)

    def test_takes_no_more_rows_than_any_of_the_engines(self, whole):
        smaller = whole.manifest.engines[0].model_copy(update={"max_rows": 5, "opt_rows": 5})
        manifest = whole.manifest.model_copy(update={"engines": (smaller, whole.manifest.engines[1])})
        full = settings_in_full(manifest, REQUIRED)
        assert manifest_as_deployed(manifest, full).graph.max_batch_size == 5

    def test_may_be_as_far_from_the_stored_answers_as_its_graph_and_itself_may_be(self, whole):
        manifest = manifest_as_deployed(whole.manifest, settings_in_full(whole.manifest, REQUIRED))
        of_graph, of_engine = 2e-3, 1e-2 / 10  # the engine was seen to be exact on the probes, the graph was not run
        assert probe_tolerance(manifest) == pytest.approx(of_graph + of_engine)


class TestWhichRuns:
    def takes_engines(self, bundle, given):
        return settings_in_full(bundle.manifest, given).engine == "require"

    def test_an_engine_where_there_is_one_for_this_machines_gpu(self, whole, gpus):
        gpus("9.0", "9.0")
        assert self.takes_engines(whole, GPU)

    @pytest.mark.parametrize("here", [("8.0",), ("9.0", "8.0"), ("[N/A]",)])
    def test_the_graph_where_there_is_none_for_every_gpu(self, whole, gpus, here):
        gpus(*here)
        assert not self.takes_engines(whole, GPU)

    def test_the_graph_where_no_gpu_is_known(self, whole):
        assert not self.takes_engines(whole, GPU)

    def test_the_graph_on_a_cpu_and_where_engines_are_not_wanted(self, whole, gpus):
        gpus("9.0")
        assert not self.takes_engines(whole, GPU.model_copy(update={"kind": "cpu"}))
        assert not self.takes_engines(whole, GPU.model_copy(update={"engine": "never"}))

    def test_the_graph_where_the_engines_are_of_another_precision(self, whole, gpus):
        gpus("9.0")
        assert not self.takes_engines(whole, GPU.model_copy(update={"precision": "fp32"}))

    def test_the_graph_is_deployed_as_it_is_then(self, whole, tmp_path):
        deploy(whole, tmp_path, GPU)
        assert graph_of(tmp_path).backend == "onnxruntime"
        assert not list(tmp_path.rglob("*.plan"))

    def test_what_was_chosen_is_recorded_so_that_another_machine_verifies_the_same(self, whole, tmp_path, gpus):
        gpus("9.0")
        assert deploy(whole, tmp_path / "repository", GPU).settings["engine"] == "require"
        gpus("8.0")
        verify_repository(tmp_path / "repository")

    def test_an_engine_is_required_for_another_machine_where_no_gpu_is_known(self, whole):
        assert self.takes_engines(whole, REQUIRED)

    def test_an_engine_that_is_required_and_missing_is_told_with_those_there_are(self, whole, plain, gpus):
        with pytest.raises(MissingVariantError, match=r"no engine of its graph in fp16; it has none; .*onepath engine"):
            settings_in_full(plain.manifest, REQUIRED)
        gpus("8.0")
        with pytest.raises(
            MissingVariantError, match=r"for compute capability 8\.0; it has fp16 for 9\.0, fp16 for 8\.6"
        ):
            settings_in_full(whole.manifest, REQUIRED)

    def test_an_engine_on_a_cpu_is_refused(self, whole):
        with pytest.raises(MissingVariantError, match="an engine runs on a GPU"):
            settings_in_full(whole.manifest, REQUIRED.model_copy(update={"kind": "cpu"}))

    def test_engines_in_different_parts_are_no_pipeline(self, plain, tmp_path):
        folder = with_engines(plain, tmp_path / "tiny", "9.0").path
        build_engine(folder, EngineRequest("fp16", split=True), StandIn("8.6"))
        with pytest.raises(
            MissingVariantError, match=r"not in the same parts; it has graph for 9\.0, fusion, image, text"
        ):
            settings_in_full(open_bundle(folder).manifest, REQUIRED)


@pytest.mark.parametrize(("deployed", "dtype"), [("graph", "TYPE_INT16"), ("engine", "TYPE_INT32")])
def test_preprocessing_gives_an_engine_integers_that_it_can_take(whole, deployed, dtype):
    entry = ModalityEntry(name="audio", kind="audio", tensor=TensorSpec(name="audio", dtype="int16", shape=(8000,)))
    manifest = whole.manifest if deployed == "engine" else whole.manifest.model_copy(update={"engines": ()})
    made = preprocess_config("tiny.audio", entry, manifest, GPU, warm_up=False)
    values = next(tensor for tensor in made.output if tensor.name == "values")
    assert text_format.MessageToString(values).count(f"data_type: {dtype}") == 1


class TestAnEngineInParts:
    @pytest.fixture(scope="class")
    @staticmethod
    def repository(parts, tmp_path_factory):
        repository = tmp_path_factory.mktemp("parts") / "repository"
        deploy(parts, repository, REQUIRED)
        return repository

    def test_is_a_model_for_each_encoder_and_one_for_the_fusion(self, repository):
        (deployment,) = verify_repository(repository)
        assert [name.partition(".")[2].partition(".")[2] for name in deployment.models] == [
            *("image", "text", "image.encoder", "text.encoder", "graph")
        ]

    def test_runs_one_after_the_other_behind_the_same_front_door(self, repository):
        front_door = config(repository, "tiny")
        steps = {
            step.model_name.partition(".")[2].partition(".")[2]: step for step in front_door.ensemble_scheduling.step
        }
        assert dict(steps["image.encoder"].input_map) == {"image": "image.values"}
        assert dict(steps["image.encoder"].output_map) == {"features": "image.features"}
        assert dict(steps["graph"].input_map) == {
            **{"image.features": "image.features", "text.features": "text.features"},
            **{"image_state": "image.state", "text_state": "text.state"},
        }
        assert [tensor.name for tensor in front_door.input] == ["image", "text"]

    def test_passes_features_in_float32(self, repository):
        (encoder,) = repository.glob("tiny.*.image.encoder")
        (features,) = config(repository, encoder.name).output
        assert (features.name, list(features.dims)) == ("features", [3])
        assert (
            graph_of(repository).input[0]
            == ModelConfig(input=[{"name": "image.features", "data_type": "TYPE_FP32", "dims": [3]}]).input[0]
        )

    def test_replaces_and_is_replaced_without_leaving_a_model(self, parts, tmp_path):
        deploy(parts, tmp_path, REQUIRED)
        after = deploy(parts, tmp_path, GPU)
        assert {path.name for path in tmp_path.iterdir()} == {"tiny", *after.models}

    def test_answers_its_probes_and_fails_no_neighbour_when_served_as_onnx(self, parts, repository, server):
        as_onnx(repository, server.repository)
        headers = {f"triton-grpc-protocol-{ADMIN_HEADER}": server.admin_token}
        with tritonclient.grpc.InferenceServerClient(server.grpc_address) as client:
            client.load_model("parts", headers=headers)
        manifest = manifest_as_deployed(parts.manifest, settings_in_full(parts.manifest, REQUIRED))
        report = check_probes(server.grpc_address, "parts", parts.probes, manifest)
        assert report.max_abs_error < 2e-3


def as_onnx(repository, target):
    """Copy a pipeline into another repository as `parts`, its engines served as the ONNX files that they are here."""
    for source in repository.iterdir():
        folder = target / source.name.replace("tiny", "parts", 1)
        shutil.copytree(source, folder)
        text = (folder / "config.pbtxt").read_text().replace('"tiny', '"parts')
        made = text_format.Parse(text, ModelConfig())
        if made.backend == "tensorrt":
            made.backend, made.default_model_filename = "onnxruntime", "model.onnx"
            (folder / "1" / made.cc_model_filenames.pop("9.0")).rename(folder / "1" / "model.onnx")
            made.instance_group[0].kind = ModelInstanceGroup.KIND_CPU
        (folder / "config.pbtxt").write_text(text_format.MessageToString(made))
