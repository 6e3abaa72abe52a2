"""Merged and fused bundles whose models are a recipe's parents and merges."""

import json
import re

import numpy as np
import onnxruntime as ort
import pytest
import torch

from onepath.contract.errors import RecipeError
from onepath.contract.robustness import robustness_from_bundle
from onepath.export.build import build
from onepath.export.bundles.single_encoders import single_encoders
from onepath.export.bundles.sources import Sources
from onepath.export.models import MadeModel, models_from_recipe
from onepath.export.planning import plan_from_file
from onepath.export.progress import SilentProgress
from onepath.export.proofs import digest_from_model
from onepath.export.recipe import Recipe, recipe_from_file
from onepath.export.recipe.code import folder_on_path
from onepath.export.rows import RowSource, feeds_from_batch
from onepath.export.trained import Trained
from onepath.merging.lego import LegoMerge
from onepath.merging.multimodal import run_dense
from onepath.merging.reparameterization import reparameterize
from tests.export.soup import NAMES, write_soup

CODE = """
from onepath.merging.lego import LegoBlock, LegoFuse, LegoSettings
from torch import nn

class Encoder(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.linear = nn.Linear(inputs, 6)
    def forward(self, values):
        return self.linear(values.to(self.linear.weight.dtype) / 64).tanh()

def block(settings):
    return LegoBlock(Encoder(settings["inputs"]), LegoSettings(6, 3, latents=4, width=8, heads=2, head_width=4))

def fuse(settings):
    return LegoFuse({settings["name"]: block({"inputs": 4}), "note": block({"inputs": 5})}, order="stack")
"""
FLOWER = {"kind": "tabular", "settings": {"columns": [{"name": name} for name in NAMES]}}
NOTE = {"kind": "text", "settings": {"tokenizer": "characters", "length": 5}}
CHANGES = {
    "modalities": {"flower": FLOWER, "note": NOTE},
    "parents": {
        "flowers": {"build": "models.py:block", "settings": {"inputs": 4}},
        "other_flowers": {"build": "models.py:block", "settings": {"inputs": 4}},
        "notes": {"build": "models.py:block", "settings": {"inputs": 5}},
        "fused": {"build": "models.py:fuse", "settings": {"name": "flower"}},
    },
    "merges": {"mean": {"method": "linear", "models": {"flowers": 1, "other_flowers": 1}}},
    "bundles": {
        "both": {
            "model": "merged",
            "method": "sum",
            "head": "linear",
            "weights": {"note": 3.0},
            "blocks": {"flower": "mean", "note": "notes"},
        },
        "chain": {"model": "fused", "source": "fused"},
    },
}


def recipe_of(folder, **changes):
    path = write_soup(folder, **CHANGES | changes)
    (folder / "models.py").write_text(CODE)
    rows = [{"flower": dict.fromkeys(NAMES, i), "note": f"note {i}", "target": i % 3} for i in range(6)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("blocks")


@pytest.fixture(scope="module")
def bundles(folder):
    path = recipe_of(folder / "recipe")
    return {bundle.manifest.name: bundle for bundle in build(path, folder / "build", SilentProgress())}


@pytest.fixture(scope="module")
def models(bundles, folder):
    path = folder / "recipe" / "recipe.yaml"
    with folder_on_path(path.parent):
        return {name: made.model for name, made in models_from_recipe(recipe_from_file(path), path).items()}


def test_the_merged_bundle_answers_as_its_blocks_merged_in_torch(bundles, models, tmp_path):
    manifest = bundles["both"].manifest
    rows = [probe.payloads for probe in bundles["both"].probes.rows if len(probe.payloads) == 2]
    batch = RowSource(manifest.modalities, tmp_path, rows).decoded("", rows)
    merged = LegoMerge(
        {"flower": models["mean"], "note": models["notes"]}, method="sum", head="linear", weights={"note": 3}
    )
    values = {name: torch.from_numpy(array) for name, array in batch.values.items()}
    with torch.inference_mode():
        logits = run_dense(merged.eval(), values, torch.ones(len(rows), 2, dtype=bool))["scores"]
    found = ort.InferenceSession(bundles["both"].graph_path).run(["scores"], feeds_from_batch(batch))[0]
    assert np.abs(found - torch.softmax(logits, -1).numpy()).max() < 1e-5


def test_the_merge_step_proves_both_the_weights_and_the_blocks(bundles):
    proofs = bundles["both"].manifest.proofs
    assert [proof.step for proof in proofs] == ["merge", "collapse", "onnx"]
    assert proofs[0].subject == "flowers+other_flowers+flower+note"
    assert [measured.inputs for measured in proofs[0].measurements] == [
        "float64, the weights of mean made again from its sources",
        "float64, only flower",
        "float64, only note",
        "float64, only flower+note",
        "golden probes, merge.reference to merge",
    ]


def test_a_parent_may_be_a_fused_model(bundles):
    manifest = bundles["chain"].manifest
    assert manifest.modality_names == ("flower", "note")
    assert [proof.step for proof in manifest.proofs] == ["collapse", "onnx"]
    assert list(manifest.details["parents"]) == ["fused"]


BLOCK = {"build": "models.py:block", "settings": {"inputs": 4}}
LINEAR = {"build": "models.py:linear"}


@pytest.mark.parametrize(
    ("parent", "bundle", "told"),
    [
        (BLOCK, {"model": "fused", "source": "one"}, "source: 'one' is a LegoBlock, which has no 'modalities'"),
        (
            {"build": "models.py:fuse", "settings": {"name": "smell"}},
            {"model": "fused", "source": "one"},
            "source: 'one' has the modality 'smell'",
        ),
        (
            {"build": "models.py:fuse", "settings": {"name": "flower"}},
            {"model": "encoder", "source": "one", "modality": "note"},
            "source: 'one' is a LegoFuse, of several modalities",
        ),
        (
            LINEAR,
            {"model": "merged", "blocks": dict.fromkeys(("flower", "note"), "one")},
            "blocks.note: 'one' is a Linear; wrap",
        ),
    ],
)
def test_a_parent_of_another_kind_is_told_by_plan_and_build_before_anything_is_written(tmp_path, parent, bundle, told):
    sound = {"sound": {"model": "encoder", "source": "other", "modality": "flower"}}
    path = recipe_of(tmp_path, bundles=sound | {"odd": bundle}, merges={}, parents={"other": BLOCK, "one": parent})
    (tmp_path / "models.py").write_text(f"{CODE}\n\ndef linear(settings):\n    return nn.Linear(4, 3)\n")
    for run in (plan_from_file, lambda path: build(path, tmp_path / "out", SilentProgress())):
        with pytest.raises(RecipeError, match=re.escape(f"bundles.odd.{told}")):
            run(path)
    assert not [*(tmp_path / "out").iterdir()]


def test_a_fused_parent_is_compared_with_the_parents_that_another_bundle_takes_for_its_modalities(bundles, folder):
    report = robustness_from_bundle(bundles["chain"].path)
    assert report.notes["encoders"] == "flower: the parent flowers; note: the parent notes"
    with folder_on_path(folder / "recipe"):
        path = folder / "recipe" / "recipe.yaml"
        made = models_from_recipe(recipe_from_file(path), path)
    payloads = [json.loads(line) for line in (folder / "recipe" / "rows.jsonl").read_text().splitlines()]
    values = torch.tensor([[float(row["flower"][name]) for name in NAMES] for row in payloads])
    with torch.inference_mode():
        found = made["flowers"].model(values).argmax(1).tolist()
    right = sum(answer == row["target"] for answer, row in zip(found, payloads, strict=True))
    assert report.encoders["flower"].value == round(right / len(payloads), 6)
    assert set(report.encoders) == {"flower", "note"}


def test_a_fused_parent_that_nothing_can_be_compared_with_says_so_of_each_modality():
    only = {"parents": {"fused": CHANGES["parents"]["fused"]}, "bundles": {"chain": CHANGES["bundles"]["chain"]}}
    recipe = Recipe.model_validate(
        {"name": "alone", "task": "classification", "labels": ["a", "b", "c"], "rows": "rows.jsonl"}
        | {"modalities": CHANGES["modalities"], **only}
    )
    found = single_encoders("chain", ("flower", "note"), recipe, Sources(Trained({})))
    assert (found.encoders, list(found.left_out)) == ({}, ["flower", "note"])
    assert found.left_out["note"].startswith("the recipe has no model of it alone; ")


def test_an_encoder_that_was_trained_is_what_a_bundle_is_compared_with_first(bundles, folder):
    trained = Trained({"note": torch.nn.Identity()})
    recipe = recipe_from_file(folder / "recipe" / "recipe.yaml")
    made = {name: MadeModel(torch.nn.Linear(2, 3), "", {}) for name in ("flowers", "fused")}
    found = single_encoders("chain", ("flower", "note"), recipe, Sources(trained, made))
    assert found.encoders == {"flower": made["flowers"].model, "note": trained.encoders["note"]}
    assert found.origins["note"] == "the encoder that was trained"


def test_behind_a_merge_that_is_a_block_stands_the_parent_as_it_was_before(bundles, models, folder):
    assert robustness_from_bundle(bundles["both"].path).notes["encoders"] == (
        "flower: the parent flowers; note: the parent notes"
    )
    recipe = recipe_from_file(folder / "recipe" / "recipe.yaml")
    made = {name: MadeModel(model, "", {}) for name, model in models.items()}
    assert single_encoders("both", ("flower",), recipe, Sources(Trained({}), made)).encoders == {
        "flower": models["flowers"]
    }


def trained_recipe(**bundle):
    """Return a recipe with training code, whose one bundle takes the parent `notes` or what was trained."""
    return Recipe.model_validate(
        {"name": "trained", "task": "classification", "labels": ["a", "b", "c"], "code": "train.py"}
        | {"modalities": {"note": NOTE}, "parents": {"notes": CHANGES["parents"]["notes"]}, "bundles": {"it": bundle}}
    )


def test_a_parent_that_training_changed_in_place_is_told_as_such():
    model = torch.nn.Linear(2, 3)
    made = {"notes": MadeModel(model, digest_from_model(model), {})}
    recipe, sources = trained_recipe(model="merged", blocks={"note": "notes"}), Sources(Trained({}), made)
    assert single_encoders("it", ("note",), recipe, sources).origins == {"note": "the parent notes"}
    model.weight.data[0, 0] += 1
    found = single_encoders("it", ("note",), recipe, sources)
    assert found.origins == {"note": "the parent notes, as the training code changed it"}


def test_an_encoder_with_a_pathway_in_it_is_told_as_such():
    encoder = torch.nn.Sequential(torch.nn.Linear(2, 3))
    reparameterize(encoder, torch.nn.Sequential(torch.nn.Linear(2, 3)))
    recipe = trained_recipe(model="encoder", source="note")
    found = single_encoders("it", ("note",), recipe, Sources(Trained({"note": encoder})))
    assert found.origins == {"note": "the encoder that was trained, with the weights of another model merged into it"}


def test_a_block_that_was_trained_on_inside_the_fused_model_is_told_as_such(models):
    recipe = trained_recipe(model="fused", source="chain")
    fused = models["fused"].blocks
    apart = Trained({}, blocks={"note": models["notes"]}, fused={"chain": models["fused"]})
    assert single_encoders("it", ("note",), recipe, Sources(apart)).origins == {"note": "the block that was trained"}
    within = Trained({}, blocks={"note": fused["note"]}, fused={"chain": models["fused"]})
    found = single_encoders("it", ("note",), recipe, Sources(within))
    assert found.origins == {
        "note": "the block that was trained, which is a part of the fused model and changed with it"
    }
