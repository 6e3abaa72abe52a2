"""A record that agrees with itself and with the files is still refused where the bundle and the settings say other."""

import json

import pytest

from onepath.contract.bundle import digest_line
from onepath.contract.digests import canonical_json, sha256_from_bytes
from onepath.contract.errors import BundleIntegrityError
from onepath.server import deploy, start_server, verify_repository
from onepath.server.names import pipeline_id
from tests.server.conftest import FREE_PORTS, ONE_EACH, digits_of

RECORD = "tiny/1/deployment.json"


def write_record(repository, record):
    data = canonical_json(record)
    (repository / RECORD).write_bytes(data)
    (repository / "tiny" / "1" / "deployment.sha256").write_text(
        digest_line(sha256_from_bytes(data), "deployment.json")
    )


@pytest.fixture
def record(repository):
    return json.loads((repository / RECORD).read_text())


def forge(repository, record, name, data):
    """Write a file and make the record agree."""
    (repository / name).parent.mkdir(parents=True, exist_ok=True)
    (repository / name).write_bytes(data)
    record["files"][name] = {"sha256": sha256_from_bytes(data), "size_bytes": len(data)}
    write_record(repository, record)


def test_a_record_that_is_written_again_as_it_was_is_accepted(repository, record):
    write_record(repository, record)
    verify_repository(repository)


def test_a_record_of_no_models_does_not_hide_a_changed_graph(repository, bundle, record):
    write_record(repository, record | {"models": []})
    (repository / f"tiny.{digits_of(bundle)}.graph" / "1" / "model.onnx").write_bytes(b"garbage")
    with pytest.raises(BundleIntegrityError, match=r"lists other models \(none\)") as refused:
        verify_repository(repository)
    assert refused.value.path == "deployment.json"


@pytest.mark.parametrize("model", ["../elsewhere", "theirs", "tiny.000000000000.image"])
def test_a_record_of_another_model_is_refused_before_anything_of_it_is_removed(repository, record, model):
    kept = (repository / model / "1" / "__pycache__").resolve()
    kept.mkdir(parents=True)
    (kept / "model.cpython-311.pyc").write_bytes(b"compiled")
    write_record(repository, record | {"models": [*record["models"], model]})
    with pytest.raises(BundleIntegrityError, match="lists other models"):
        start_server(repository, FREE_PORTS)
    assert (kept / "model.cpython-311.pyc").exists()


def test_the_names_of_the_models_follow_the_recorded_settings(repository, record):
    record["settings"]["graph_instances"] = 2
    write_record(repository, record)
    with pytest.raises(BundleIntegrityError, match="lists other models"):
        verify_repository(repository)


def with_settings(repository, bundle, record, settings):
    """Make a repository one of other settings, its models' names with them."""
    old, new = digits_of(bundle), pipeline_id(bundle.id, settings)
    for model in record["models"]:
        (repository / model).rename(repository / model.replace(old, new))
    write_record(repository, json.loads(json.dumps(record | {"settings": settings}).replace(old, new)))


def test_a_record_without_valid_settings_is_refused_in_words(repository, bundle, record):
    with_settings(repository, bundle, record, {"graph_instances": "many"})
    with pytest.raises(BundleIntegrityError, match=r"deployment\.json .*graph_instances"):
        verify_repository(repository)


@pytest.fixture
def older(repository, bundle, record):
    """A repository that an onepath wrote which knew neither precisions nor engines."""
    settings = {name: value for name, value in record["settings"].items() if name not in ("precision", "engine")}
    with_settings(repository, bundle, record, settings)
    return repository


def test_a_record_of_an_older_onepath_says_what_to_do(older):
    with pytest.raises(BundleIntegrityError, match=r"older onepath.* engine, precision; deploy the bundle again"):
        start_server(older, FREE_PORTS)


def test_a_pipeline_of_an_older_onepath_is_replaced_by_deploying_again(older, bundle):
    deployment = deploy(bundle, older, ONE_EACH)
    assert verify_repository(older) == [deployment]
    assert {path.name for path in older.iterdir()} == {"tiny", *deployment.models}


@pytest.mark.parametrize("name", ["elsewhere/x", "../x", "/x", "tiny-2/1/x", "tiny"])
def test_a_listed_file_outside_the_pipelines_folders_is_refused(repository, record, name):
    record["files"][name] = record["files"]["tiny/config.pbtxt"]
    write_record(repository, record)
    with pytest.raises(BundleIntegrityError) as refused:
        verify_repository(repository)
    assert refused.value.path == name


@pytest.mark.parametrize(
    "name",
    [
        "tiny.ID.text/1/model.py",
        "tiny.ID.text/1/modality.json",
        "tiny.ID.text/config.pbtxt",
        "tiny.ID.text/warmup/payload",
        "tiny.ID.graph/config.pbtxt",
        "tiny.ID.graph/1/model.onnx",
        "tiny.ID.graph/warmup/state",
        "tiny/config.pbtxt",
    ],
)
def test_a_changed_file_is_refused_though_the_record_agrees(repository, bundle, record, name):
    name = name.replace("ID", digits_of(bundle))
    more = b"max_batch_size: 3" if name.endswith("config.pbtxt") else b"\n"
    forge(repository, record, name, (repository / name).read_bytes() + more)
    with pytest.raises(BundleIntegrityError, match="is not the file of") as refused:
        verify_repository(repository)
    assert refused.value.path == name


def test_changed_probes_are_refused_though_the_record_agrees(repository, record):
    forge(repository, record, "tiny/1/probes.json", b"{}")
    with pytest.raises(BundleIntegrityError, match=r"probes\.json .* is not the file of"):
        verify_repository(repository)


@pytest.mark.parametrize("name", ["1/numpy.py", "1/model.so", "2/model.py", "1/__pycache__/model.cpython-311.pyc"])
def test_a_further_file_is_refused_though_the_record_agrees(repository, bundle, record, name):
    name = f"tiny.{digits_of(bundle)}.text/{name}"
    forge(repository, record, name, b"")
    with pytest.raises(BundleIntegrityError, match="is not the file of") as refused:
        verify_repository(repository)
    assert refused.value.path == name


def test_a_config_that_only_reads_differently_is_the_same_config(repository, record):
    name = "tiny/config.pbtxt"
    text = (repository / name).read_text()
    forge(
        repository,
        record,
        name,
        f"# Printed by another release.\n{text.replace(chr(10) + '  ', chr(10) + '    ')}".encode(),
    )
    verify_repository(repository)


@pytest.mark.parametrize("forged", [b"max_batch_size: 3", b"not a config {"])
def test_a_config_that_says_something_else_is_refused(repository, record, forged):
    forge(repository, record, "tiny/config.pbtxt", (repository / "tiny/config.pbtxt").read_bytes() + forged)
    with pytest.raises(BundleIntegrityError, match=r"config\.pbtxt"):
        verify_repository(repository)
