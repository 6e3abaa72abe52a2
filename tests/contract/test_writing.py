"""Amending a bundle: another one, whole, in its place."""

import pytest

from onepath.contract.bundle import MANIFEST, open_bundle
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.writing import amend_bundle
from tests.contract import small_bundle


@pytest.fixture
def path(tmp_path):
    return small_bundle.write(tmp_path / "small")


def settings(manifest):
    return manifest.model_copy(update={"deployment": {"graph_instances": 2}})


def test_an_amended_bundle_has_the_new_file_and_another_id(path, tmp_path):
    before = open_bundle(path)
    (tmp_path / "picture").write_bytes(b"picture")
    after = amend_bundle(path, {"reports/a.json": b"{}", "reports/b.png": tmp_path / "picture"}, settings)
    assert after.id != before.id
    assert after.manifest.deployment == {"graph_instances": 2}
    assert (path / "reports/b.png").read_bytes() == b"picture"
    assert set(after.manifest.files) == {*before.manifest.files, "reports/a.json", "reports/b.png"}


def test_a_file_can_be_replaced_and_dropped(path):
    amend_bundle(path, {"reports/a.json": b"{}"}, lambda manifest: manifest)
    amend_bundle(path, {"reports/a.json": b"[]"}, lambda manifest: manifest)
    assert (path / "reports/a.json").read_bytes() == b"[]"

    def without(manifest):
        kept = {name: entry for name, entry in manifest.files.items() if not name.startswith("reports/")}
        return manifest.model_copy(update={"files": kept})

    amend_bundle(path, {}, without)
    assert not (path / "reports").exists()


def test_an_amendment_that_breaks_the_chain_leaves_the_bundle_as_it_was(path):
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(BundleIntegrityError, match="collapse wrote"):
        amend_bundle(path, {"weights/model.safetensors": b"other"}, lambda manifest: manifest)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_a_damaged_bundle_is_not_amended(path):
    (path / MANIFEST).write_bytes(b"{}")
    with pytest.raises(BundleIntegrityError):
        amend_bundle(path, {}, settings)
