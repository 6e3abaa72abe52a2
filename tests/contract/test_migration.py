"""Manifests of the first schema are read as ever; those of a schema to come are refused with what reads them."""

import copy
import json
from pathlib import Path

import pytest

import onepath
from onepath.contract.bundle import MANIFEST, manifest_from_folder, open_bundle
from onepath.contract.digests import canonical_json
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.manifest import SCHEMA_VERSION
from onepath.contract.migration import NewerSchemaError, migrated
from onepath.contract.writing import amend_bundle
from onepath.server import deploy
from onepath.server.verification import verify_repository
from tests.contract import small_bundle
from tests.server.bundles import write_bundle

RELEASED = Path(__file__).parent / "schema_1_manifest.json"
"""The manifest of the digits bundle as release 0.1.0 wrote it."""
RELEASED_ID = "2585ee68b4b6a699cc301aea3f7ac45ccd78dc19c7085c4b2a87132c6f13c5ae"
NEW_FIELDS = ("variants", "engines", "answers", "deployment")


@pytest.fixture
def released():
    return json.loads(RELEASED.read_text())


def in_first_schema(raw):
    """Return a manifest as release 0.1.0 would have written it."""
    old = {name: value for name, value in raw.items() if name not in NEW_FIELDS} | {"schema_version": 1}
    old["graph"] = {name: raw["graph"][name] for name in ("file", "precision", "opset", "ir_version", "max_batch_size")}
    for proof in old["proofs"]:
        proof["measurements"] = [
            {
                "inputs": each["inputs"],
                "max_abs_error": each["error"],
                "tolerance": each["tolerance"],
                "relative": each["metric"] == "max_relative",
            }
            for each in proof["measurements"]
        ]
    return old


def rewrite(path, change):
    small_bundle.write_manifest(path, canonical_json(change(json.loads((path / MANIFEST).read_text()))))


def test_a_released_manifest_says_the_same_in_todays_schema(tmp_path):
    small_bundle.write_manifest(tmp_path, RELEASED.read_bytes())
    manifest, bundle_id = manifest_from_folder(tmp_path)
    assert (manifest.schema_version, manifest.name, bundle_id) == (2, "digits", RELEASED_ID)
    merge, collapse, onnx = manifest.proofs
    assert (merge.measurements[0].error, merge.measurements[0].metric) == (2.6194944397846274e-16, "max_relative")
    assert [len(proof.measurements) for proof in (merge, collapse, onnx)] == [7, 22, 13]
    assert {each.metric for each in onnx.measurements} == {"max_abs"}
    assert (manifest.variants, manifest.engines, manifest.answers, manifest.deployment) == ((), (), None, {})


def test_what_an_old_manifest_says_was_in_float64_in_its_titles_it_says_in_a_field(released):
    found = [(proof["step"], each) for proof in migrated(released)["proofs"] for each in proof["measurements"]]
    wide = [(step, each["inputs"]) for step, each in found if each["computed_in"] == "float64"]
    assert len(wide) == sum(each["inputs"].startswith("float64,") for _, each in found) == 19
    assert {each["computed_in"] for step, each in found if step == "onnx"} == {"float32"}
    assert {step for step, _ in wide} == {"merge", "collapse"}


@pytest.mark.parametrize(("title", "allowed"), [("float64, one row", False), ("float32 against float64, one", True)])
def test_an_old_tolerance_of_float32_is_refused_for_what_was_in_float64(tmp_path, title, allowed):
    path = small_bundle.write(tmp_path / "old")

    def looser(raw):
        old = in_first_schema(raw)
        more = {"inputs": title, "max_abs_error": 0.0, "tolerance": 1e-4, "relative": True}
        old["proofs"][0]["measurements"].append(more)
        return old

    rewrite(path, looser)
    if allowed:
        open_bundle(path)
    else:
        with pytest.raises(BundleIntegrityError, match=r"proof 1, collapse.*tolerance of 0\.0001 in float64"):
            open_bundle(path)


def test_a_manifest_that_does_not_say_what_was_in_float64_yet_is_held_to_it_all_the_same(tmp_path):
    def write(inputs, tolerance):
        path = small_bundle.write(tmp_path / "early")

        def unsaid(raw):
            for proof in raw["proofs"]:
                for each in proof["measurements"]:
                    del each["computed_in"]
            raw["proofs"][0]["measurements"].append(
                {"inputs": inputs, "error": 0.0, "tolerance": tolerance, "metric": "max_relative"}
            )
            return raw

        rewrite(path, unsaid)
        return path

    for inputs in ("float64, two rows", "golden probes, collapse.reference to collapse"):
        open_bundle(write(inputs, 1e-10))
        with pytest.raises(BundleIntegrityError, match="in float64"):
            open_bundle(write(inputs, 1e-4))
    open_bundle(write("golden probes, collapse to cast", 1e-4))


def test_migrating_changes_nothing_but_the_version_and_how_measurements_are_written(released):
    found = migrated(released)
    assert set(found) == set(released)
    assert [name for name in released if found[name] != released[name]] == ["proofs", "schema_version"]


def test_the_manifest_that_was_given_stays_as_it_is(released):
    before = copy.deepcopy(released)
    migrated(released)
    assert released == before


def test_the_id_of_an_old_bundle_stays_the_digest_of_its_manifest_on_the_disk(tmp_path):
    path = small_bundle.write(tmp_path / "old")
    rewrite(path, in_first_schema)
    bundle = open_bundle(path)
    assert bundle.id == (path / "manifest.sha256").read_text().split()[0]
    assert json.loads((path / MANIFEST).read_text())["schema_version"] == 1


def test_an_old_bundle_is_deployed_and_verified(tmp_path):
    path = write_bundle(tmp_path / "tiny").path
    rewrite(path, in_first_schema)
    deployment = deploy(open_bundle(path), tmp_path / "repository")
    assert verify_repository(tmp_path / "repository") == [deployment]


def test_amending_an_old_bundle_writes_it_in_todays_schema(tmp_path):
    path = small_bundle.write(tmp_path / "old")
    rewrite(path, in_first_schema)
    amend_bundle(path, {"reports/a.json": b"{}"}, lambda manifest: manifest)
    assert json.loads((path / MANIFEST).read_text())["schema_version"] == 2


def test_a_proof_of_the_first_schema_over_its_tolerance_is_refused(tmp_path):
    path = small_bundle.write(tmp_path / "old")

    def worse(raw):
        old = in_first_schema(raw)
        old["proofs"][0]["measurements"][0]["max_abs_error"] = 0.5
        return old

    rewrite(path, worse)
    with pytest.raises(BundleIntegrityError, match=r"proof 1, collapse.*is off by 0\.5"):
        open_bundle(path)


@pytest.mark.parametrize("field", NEW_FIELDS)
def test_an_old_manifest_has_no_fields_of_todays(released, field):
    with pytest.raises(ValueError, match=f"has '{field}', which is no field of its schema"):
        migrated(released | {field: {}})


def test_an_old_measurement_has_no_fields_of_todays(released):
    released["proofs"][0]["measurements"][0]["metric"] = "flips"
    with pytest.raises(ValueError, match="a measurement has 'metric'"):
        migrated(released)


@pytest.mark.parametrize("version", [True, "1", 1.0, 0, -1, None, [1]])
def test_a_version_that_is_none_is_refused(released, version):
    with pytest.raises(ValueError, match="schema version is"):
        migrated(released | {"schema_version": version})


def test_a_newer_schema_is_refused_with_its_version_and_the_release_that_wrote_it(tmp_path):
    path = small_bundle.write(tmp_path / "new")
    rewrite(path, lambda raw: raw | {"schema_version": 7, "tools": {"onepath": "2.10.0rc1"}, "field": "unheard of"})
    told = r'schema version 7, and this onepath reads versions 1 to 2; .*pip install "onepath>=2\.10\.0rc1"'
    with pytest.raises(BundleIntegrityError, match=told):
        open_bundle(path)


@pytest.mark.parametrize("release", ["1.0; rm -rf ~", "$(id)", "", None, ["1.0"], "9" * 99])
def test_what_is_no_release_is_not_passed_on_to_a_shell(released, release):
    with pytest.raises(NewerSchemaError) as refused:
        migrated(released | {"schema_version": 3, "tools": {"onepath": release}})
    assert refused.value.advice == "install a newer onepath: pip install --upgrade onepath"


def test_a_schema_comes_with_a_release_of_its_own_so_that_the_advice_names_one_that_reads_it():
    major, minor = map(int, onepath.__version__.split(".")[:2])
    assert (major, minor) >= (0, SCHEMA_VERSION)
