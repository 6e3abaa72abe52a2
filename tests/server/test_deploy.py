import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from onepath.contract import publication
from onepath.contract.bundle import open_bundle
from onepath.contract.digests import sha256_from_file
from onepath.contract.errors import BundleIntegrityError
from onepath.server import DeploySettings, deploy, verify_repository
from onepath.server.settings import usable_cores
from tests.server.bundles import write_bundle
from tests.server.conftest import ONE_EACH, digits_of


def models(repository):
    return sorted(path.name for path in repository.iterdir())


def tree(folder):
    """Return every file's digest and time of change."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (sha256_from_file(path), path.stat().st_mtime_ns) for path in paths}


def inner(repository, part):
    """Return the name of the only inner model of that part."""
    (path,) = repository.glob(f"tiny.*.{part}")
    return path.name


def config(repository, model):
    return text_format.Parse((repository / model / "config.pbtxt").read_text(), ModelConfig())


def test_a_pipeline_is_a_front_door_and_inner_models_named_by_the_bundle_and_its_settings(repository, bundle):
    settings = {
        **{"kind": "cpu", "precision": "fp32", "engine": "never"},
        **{"preprocess_instances": 1, "graph_instances": 1, "intra_op_threads": 1},
        **{"inter_op_threads": 1, "allow_spinning": False, "max_queue_delay_us": 0, "preferred_batch_sizes": []},
    }
    both = json.dumps({"bundle_id": bundle.id, "settings": settings}, sort_keys=True, indent=2) + "\n"
    digits = hashlib.sha256(both.encode()).hexdigest()[:12]
    inner = [f"tiny.{digits}.{part}" for part in ("graph", "image", "text")]
    assert models(repository) == ["tiny", *inner]


def test_the_front_door_keeps_the_manifest_and_the_probes_of_the_bundle(repository, bundle):
    kept = repository / "tiny" / "1"
    assert sha256_from_file(kept / "manifest.json") == bundle.id
    assert (kept / "probes.json").read_bytes() == (bundle.path / "probes.json").read_bytes()


def test_the_graph_is_the_bundles_bit_for_bit(repository, bundle):
    graph = repository / f"tiny.{digits_of(bundle)}.graph" / "1" / "model.onnx"
    assert graph.read_bytes() == bundle.graph_path.read_bytes()


def test_the_record_lists_every_file_with_its_digest(repository):
    record = json.loads((repository / "tiny" / "1" / "deployment.json").read_text())
    found = {name: digest for name, (digest, _) in tree(repository).items() if "/deployment." not in name}
    assert {name: entry["sha256"] for name, entry in record["files"].items()} == found


@pytest.mark.parametrize("part", ["", "image", "text", "graph"])
def test_every_config_parses_back_and_has_its_folders_name(repository, bundle, part):
    name = f"tiny.{digits_of(bundle)}.{part}" if part else "tiny"
    parsed = config(repository, name)
    assert parsed.name == name
    assert parsed.max_batch_size == 8


def test_only_the_graph_depends_on_the_engine(repository, bundle):
    backends = {name: config(repository, name).backend for name in models(repository)}
    assert [name for name, backend in backends.items() if backend == "onnxruntime"] == [
        f"tiny.{digits_of(bundle)}.graph"
    ]


def test_settings_reach_the_configuration_of_the_graph(bundle, tmp_path):
    settings = DeploySettings(
        kind="gpu", graph_instances=3, intra_op_threads=2, max_queue_delay_us=250, preferred_batch_sizes=(8, 4)
    )
    deploy(bundle, tmp_path, settings)
    graph = config(tmp_path, inner(tmp_path, "graph"))
    assert (graph.instance_group[0].count, graph.instance_group[0].kind) == (3, ModelInstanceGroup.KIND_GPU)
    assert graph.parameters["intra_op_thread_count"].string_value == "2"
    assert graph.parameters["session.intra_op.allow_spinning"].string_value == "0"
    assert graph.dynamic_batching.max_queue_delay_microseconds == 250
    assert list(graph.dynamic_batching.preferred_batch_size) == [4, 8]


def test_instances_of_one_thread_fill_the_cores_unless_told_otherwise(bundle, tmp_path):
    deploy(bundle, tmp_path)
    for part in ("graph", "image"):
        assert config(tmp_path, inner(tmp_path, part)).instance_group[0].count == usable_cores()
    assert config(tmp_path, inner(tmp_path, "graph")).parameters["intra_op_thread_count"].string_value == "1"


def test_deploying_the_same_bundle_again_touches_no_file(repository, bundle):
    before = tree(repository)
    first, second = deploy(bundle, repository, ONE_EACH), deploy(bundle, repository, ONE_EACH)
    assert first == second
    assert tree(repository) == before


def test_deploying_again_repairs_a_damaged_pipeline(repository, bundle):
    (repository / f"tiny.{digits_of(bundle)}.graph" / "1" / "model.onnx").write_bytes(b"damaged")
    deploy(bundle, repository, ONE_EACH)
    verify_repository(repository)


def test_other_settings_for_the_same_bundle_replace_its_configuration(repository, bundle):
    deploy(bundle, repository, ONE_EACH.model_copy(update={"graph_instances": 2}))
    verify_repository(repository)
    assert config(repository, inner(repository, "graph")).instance_group[0].count == 2


def test_other_settings_keep_the_bundles_id_and_give_its_models_other_names(repository, bundle):
    (before,) = verify_repository(repository)
    after = deploy(bundle, repository, ONE_EACH.model_copy(update={"max_queue_delay_us": 250}))
    assert (after.front_door, after.bundle_id) == (before.front_door, bundle.id)
    assert set(after.models).isdisjoint(before.models)
    assert models(repository) == sorted(["tiny", *after.models])


@pytest.mark.parametrize("published", range(5))
def test_a_deployment_killed_between_any_two_steps_leaves_a_pipeline_that_is_whole(
    repository, bundle, monkeypatch, published
):
    from onepath.server import repository as module

    left = iter([module.publish_folder] * published)

    def killed(new, target):
        publish = next(left, None)
        if publish is None:
            raise KeyboardInterrupt
        publish(new, target)

    monkeypatch.setattr(module, "publish_folder", killed)
    (before,) = verify_repository(repository)
    others = ONE_EACH.model_copy(update={"max_queue_delay_us": 250})
    with pytest.raises(KeyboardInterrupt) if published < 4 else nullcontext():
        deploy(bundle, repository, others)
    (after,) = verify_repository(repository)
    assert (after == before) is (published < 4)


def test_the_numbers_that_this_machine_gives_are_the_same_as_those_that_a_person_gives(bundle, tmp_path):
    cores = usable_cores()
    given = DeploySettings(preprocess_instances=cores, graph_instances=cores)
    assert deploy(bundle, tmp_path) == deploy(bundle, tmp_path, given)


@pytest.mark.parametrize("asset", ["model.py", "numpy.py", "model.cpython-311-x86_64-linux-gnu.so", "modality.json"])
def test_an_asset_that_would_be_code_beside_a_model_is_refused(tmp_path, asset):
    bundle = write_bundle(tmp_path / "bundle", assets={f"assets/text/{asset}": b"boom"})
    with pytest.raises(BundleIntegrityError, match="give the asset another name") as refused:
        deploy(bundle, tmp_path / "repository", ONE_EACH)
    assert refused.value.path == f"assets/text/{asset}"


def test_a_new_bundle_takes_over_the_front_door_and_the_old_models_go(repository, bundle, other_bundle):
    assert bundle.id != other_bundle.id
    deploy(other_bundle, repository, ONE_EACH)
    assert verify_repository(repository)[0].bundle_id == other_bundle.id
    assert models(repository) == ["tiny", *(f"tiny.{digits_of(other_bundle)}.{p}" for p in ("graph", "image", "text"))]


def test_the_front_door_is_switched_after_the_new_models_are_there_and_before_the_old_ones_go(
    repository, bundle, other_bundle, monkeypatch
):
    from onepath.server import repository as module

    seen = []

    def observed(new, target, publish=module.publish_folder):
        publish(new, target)
        seen.append((target.name, len(models(repository)), verify_front_door(repository)))

    monkeypatch.setattr(module, "publish_folder", observed)
    deploy(other_bundle, repository, ONE_EACH)
    assert [name for name, _, _ in seen][-1] == "tiny"
    assert [owner for _, _, owner in seen] == [bundle.id] * 3 + [other_bundle.id]
    assert seen[-1][1] == 8  # seven models and the staging folder: the old ones are still there


def verify_front_door(repository):
    return json.loads((repository / "tiny" / "1" / "deployment.json").read_text())["bundle_id"]


def test_another_pipeline_in_the_repository_is_not_touched(repository, tmp_path):
    before = tree(repository)
    deploy(write_bundle(tmp_path / "second", name="tiny-2"), repository, ONE_EACH)
    after = tree(repository)
    assert {name: after[name] for name in before} == before
    assert [deployment.front_door for deployment in verify_repository(repository)] == ["tiny", "tiny-2"]


def test_nothing_is_left_of_the_staging_also_of_a_crashed_run(repository, other_bundle):
    (repository / ".onepath-staging-crashed").mkdir()
    deploy(other_bundle, repository, ONE_EACH)
    assert [name for name in models(repository) if name.startswith(".")] == []


def test_a_folder_of_something_else_is_refused_and_left_alone(bundle, tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"sun")
    with pytest.raises(BundleIntegrityError, match=r"holiday\.jpg.*not a model repository"):
        deploy(bundle, tmp_path)
    assert models(tmp_path) == ["holiday.jpg"]


def test_a_front_door_that_is_somebody_elses_model_is_refused(bundle, tmp_path):
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.pbtxt").write_text('name: "tiny"')
    with pytest.raises(BundleIntegrityError, match="onepath did not deploy"):
        deploy(bundle, tmp_path)


def test_somebody_elses_model_beside_the_pipeline_is_left_alone(repository, bundle):
    (repository / "theirs").mkdir()
    (repository / "theirs" / "config.pbtxt").write_text('name: "theirs"')
    deploy(bundle, repository, ONE_EACH)
    assert (repository / "theirs" / "config.pbtxt").read_text() == 'name: "theirs"'
    assert len(verify_repository(repository)) == 1


def test_a_bundle_that_changed_after_it_was_opened_is_not_deployed(bundle, tmp_path):
    shutil.copytree(bundle.path, tmp_path / "bundle")
    opened = open_bundle(tmp_path / "bundle")
    opened.graph_path.write_bytes(opened.graph_path.read_bytes()[:-1] + b"\0")
    with pytest.raises(BundleIntegrityError, match=r"model\.onnx"):
        deploy(opened, tmp_path / "repository")
    assert models(tmp_path / "repository") == []


def test_the_files_that_a_modality_names_lie_beside_its_model(tmp_path):
    bundle = write_bundle(tmp_path / "bundle", assets={"assets/text/words.txt": b"one\ntwo\n"})
    deploy(bundle, tmp_path / "repository", ONE_EACH)
    asset = tmp_path / "repository" / f"tiny.{digits_of(bundle)}.text" / "1" / "words.txt"
    assert asset.read_bytes() == b"one\ntwo\n"


def test_a_name_that_means_two_things_is_refused(bundle, tmp_path):
    from dataclasses import replace

    image, text = bundle.manifest.modalities
    clashing = image.model_copy(update={"name": "presence"})
    manifest = bundle.manifest.model_copy(update={"modalities": (clashing, text)})
    with pytest.raises(BundleIntegrityError, match="'presence' to more than one thing"):
        deploy(replace(bundle, manifest=manifest), tmp_path)


def test_two_deployments_at_once_take_turns(bundle, other_bundle, tmp_path):
    with ThreadPoolExecutor(2) as deployers:
        done = [deployers.submit(deploy, each, tmp_path, ONE_EACH) for each in (bundle, other_bundle) * 3]
        ids = {each.result().bundle_id for each in done}
    (last,) = verify_repository(tmp_path)
    assert ids == {bundle.id, other_bundle.id}
    assert models(tmp_path) == sorted(["tiny", *last.models])


def test_the_front_door_is_switched_also_where_names_cannot_be_exchanged(repository, other_bundle, monkeypatch):
    monkeypatch.setattr(publication, "_exchanged", lambda first, second: False)
    deploy(other_bundle, repository, ONE_EACH)
    (deployment,) = verify_repository(repository)
    assert deployment.bundle_id == other_bundle.id
    assert models(repository) == sorted(["tiny", *deployment.models])


def test_where_the_second_rename_fails_the_old_folder_is_put_back(tmp_path, monkeypatch):
    monkeypatch.setattr(publication, "_exchanged", lambda first, second: False)
    (tmp_path / "old").mkdir()
    with pytest.raises(FileNotFoundError):
        publication.publish_folder(tmp_path / "missing", tmp_path / "old")
    assert models(tmp_path) == ["old"]
