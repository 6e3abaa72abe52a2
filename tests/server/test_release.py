"""Releasing: the released repository is exchanged for one that a server has answered from, or stays as it was."""

import importlib.util
from pathlib import Path

import pytest

from onepath.contract.errors import ServerUnavailableError
from onepath.server import deploy, verify_repository
from tests.server.bundles import write_bundle
from tests.server.conftest import ONE_EACH

SCRIPT = Path(__file__).parents[2] / "export" / "digits" / "release.py"


@pytest.fixture
def script(tmp_path, monkeypatch, other_bundle):
    """The release script of a project that has released the other bundle."""
    spec = importlib.util.spec_from_file_location("release", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PROJECT", tmp_path)
    monkeypatch.setattr(module, "RELEASED", tmp_path / "model_repository")
    deploy(other_bundle, module.RELEASED, ONE_EACH)
    return module


def released_id(script):
    return verify_repository(script.RELEASED)[0].bundle_id


def test_the_released_repository_is_replaced_and_nothing_else_is_left(script, bundle):
    script.release(bundle)
    assert released_id(script) == bundle.id
    assert list((script.PROJECT / "build").iterdir()) == []
    assert not list(script.RELEASED.rglob("__pycache__"))


def test_a_bundle_that_does_not_pass_its_probes_is_not_released(script, other_bundle, tmp_path):
    with pytest.raises(ServerUnavailableError, match="does not pass its probes"):
        script.release(write_bundle(tmp_path / "wrong", probe_offset=1.0))
    assert released_id(script) == other_bundle.id


def test_a_crash_at_any_removal_or_rename_leaves_a_released_repository(script, bundle, monkeypatch):
    seen = []

    def watched(function):
        def call(*arguments, **options):
            seen.append(script.RELEASED.is_dir())
            result = function(*arguments, **options)
            seen.append(script.RELEASED.is_dir())
            return result

        return call

    monkeypatch.setattr("shutil.rmtree", watched(__import__("shutil").rmtree))
    monkeypatch.setattr(Path, "rename", watched(Path.rename))
    script.release(bundle)
    assert seen
    assert all(seen)
