"""Every recipe under `export/` becomes a bundle that a real Triton serves; here with one epoch of training each."""

import shutil
from pathlib import Path

import pytest
import yaml

from onepath.clients import Client
from onepath.contract.bundle import Bundle, open_bundle
from onepath.contract.probes import probes_from_file
from onepath.export.build import build
from onepath.export.progress import SilentProgress
from onepath.server import deploy, start_server
from tests.endtoend.conftest import FREE_PORTS, PROJECT

RECIPES = sorted(
    path.parent.name for path in (PROJECT / "export").glob("*/recipe.yaml") if path.parent.name != "digits"
)


def quick_copies(folder: Path) -> Path:
    """A copy of the export folders in which every training takes one epoch."""
    copied = Path(shutil.copytree(PROJECT / "export", folder / "export", ignore=shutil.ignore_patterns("__pycache__")))
    for name in RECIPES:
        recipe = copied / name / "recipe.yaml"
        raw = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        settings = {key: 1 if key.endswith("epochs") else value for key, value in raw["settings"].items()}
        recipe.write_text(yaml.safe_dump({**raw, "settings": settings}, allow_unicode=True), encoding="utf-8")
    return copied


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Bundle]]:
    folder = tmp_path_factory.mktemp("recipes")
    copies = quick_copies(folder)
    return {name: build(copies / name / "recipe.yaml", folder / "build", SilentProgress()) for name in RECIPES}


@pytest.fixture(scope="module")
def served(built: dict[str, list[Bundle]], tmp_path_factory: pytest.TempPathFactory):
    """One server with the main bundle of every recipe; it is ready only once all their probes pass."""
    repository = tmp_path_factory.mktemp("served") / "model_repository"
    for bundles in built.values():
        deploy(bundles[0], repository)
    with start_server(repository, FREE_PORTS) as server:
        yield server


def test_each_published_system_and_each_of_m2pts_modalities_has_a_recipe() -> None:
    assert RECIPES == ["lego", "m2pt_layers", "pathway_audio", "pathway_image", "pathway_points", "pathway_video"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_becomes_bundles_with_a_whole_chain_of_proofs(built: dict[str, list[Bundle]], name: str) -> None:
    for bundle in built[name]:
        steps = [proof.step for proof in open_bundle(bundle.path).manifest.proofs]
        assert steps[-2:] == ["collapse", "onnx"]


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_served_answers_every_probe_as_the_exported_model_did(built, served, name: str) -> None:
    bundle = built[name][0]
    probes = probes_from_file(bundle.path / bundle.manifest.probes)
    columns = {
        modality: [row.payloads.get(modality) for row in probes.rows] for modality in bundle.manifest.modality_names
    }
    with Client(served.grpc_address) as client:
        answers = client.predict(bundle.manifest.name, **columns)
    for answer, row in zip(answers, probes.rows, strict=True):
        assert list(answer.scores) == pytest.approx(row.expected, abs=1e-4)
        assert answer.ok
        assert answer.label is not None
