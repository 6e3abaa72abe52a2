"""Amending a bundle: another one, whole, in its place."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from onepath.contract.bundle import MANIFEST, open_bundle
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.publication import STAGING_PREFIX
from onepath.contract.writing import amend_bundle, write_bundle
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


def written(path):
    """Write a small bundle as a build does."""
    return write_bundle(
        path, small_bundle.FILES, lambda files: small_bundle.manifest(name=path.name, files=dict(files))
    )


def test_bundles_that_are_written_and_amended_at_once_are_all_there(tmp_path):
    names = [f"bundle-{index}" for index in range(6)]
    with ThreadPoolExecutor(6) as pool:
        ids = [bundle.id for bundle in pool.map(written, [tmp_path / name for name in names])]
        assert [open_bundle(tmp_path / name).id for name in names] == ids
        list(pool.map(lambda number: amend_bundle(tmp_path / names[0], {f"reports/{number}": b""}, same), range(6)))
    assert {f"reports/{number}" for number in range(6)} < {*open_bundle(tmp_path / names[0]).manifest.files}
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def same(manifest):
    return manifest


def test_what_a_crash_left_is_removed_and_the_bundle_is_as_it_was(path, tmp_path):
    left = tmp_path / f"{STAGING_PREFIX}crashed" / "small"
    left.mkdir(parents=True)
    (left / MANIFEST).write_text("half of a mani")
    before = open_bundle(path).id
    assert amend_bundle(path, {}, same).id == before
    assert [each.name for each in tmp_path.iterdir()] == ["small"]


def test_a_file_that_changes_while_a_bundle_is_amended_gets_no_new_digest(path):
    def change(manifest):
        (path / "probes.json").write_bytes(b"others")
        return settings(manifest)

    with pytest.raises(BundleIntegrityError, match=r"probes\.json"):
        amend_bundle(path, {}, change)


def test_a_bundle_is_amended_through_a_link_to_it(path, tmp_path):
    (tmp_path / "current").symlink_to(path)
    after = amend_bundle(tmp_path / "current", {}, settings)
    assert open_bundle(path).id == after.id
    assert (tmp_path / "current").is_symlink()
