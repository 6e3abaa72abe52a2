"""A recipe becomes bundles: those of the toy recipe, built once for all tests."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
import yaml
from safetensors.torch import load_file

from onepath.contract.bundle import MANIFEST, open_bundle
from onepath.contract.errors import BundleIntegrityError, GateError, ParityError, RecipeError
from onepath.contract.presence import patterns
from onepath.contract.robustness import robustness_from_bundle
from onepath.export.build import build
from onepath.export.progress import SilentProgress
from onepath.export.proving import prove_merge
from onepath.export.rows import RowSource, feeds_from_batch
from onepath.merging.lego import LegoMerge
from onepath.merging.multimodal import run_dense
from onepath.scoring.checks import first_broken
from onepath.scoring.rerun import rerun
from tests.export import answered_toy
from tests.export.answered_toy import RECIPE

NAMES = ("picture", "word", "cells")


@pytest.fixture(scope="module")
def bundles():
    return answered_toy.toy_bundles()


@pytest.fixture(scope="module")
def output(bundles):
    return bundles["toy"].path.parent


@pytest.fixture(scope="module")
def toy_code():
    return answered_toy.toy_code()


@pytest.fixture(scope="module")
def source(bundles, toy_code):
    generator = np.random.default_rng(11)
    rows = [toy_code.row(index, generator) for index in range(8)]
    return RowSource(bundles["toy"].manifest.modalities, Path("nowhere"), rows)


def scores(bundle, batch):
    session = ort.InferenceSession(bundle.graph_path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds_from_batch(batch)), strict=True))


def test_every_bundle_of_the_recipe_is_written_under_its_name_and_opens(bundles, output):
    assert list(bundles) == ["toy", "toy-sum", "toy-stack", "toy-word"]
    assert [open_bundle(output / name).id for name in bundles] == [bundle.id for bundle in bundles.values()]


def test_nothing_but_the_bundles_is_left_in_the_output(bundles, output):
    assert sorted(path.name for path in output.iterdir()) == sorted(bundles)


@pytest.mark.parametrize(("name", "method", "weights"), [("toy", "harmonic", {}), ("toy-sum", "sum", {"word": 2.0})])
@pytest.mark.parametrize("pattern", patterns(NAMES), ids="+".join)
def test_each_pattern_equals_the_torch_model_merged_from_only_those_blocks(
    bundles, source, toy_code, name, method, weights, pattern
):
    batch = source.decoded("", source.pattern_rows(pattern, 8))
    found = scores(bundles[name], batch)["scores"]
    blocks = {modality: block for modality, block in toy_code.blocks().items() if modality in pattern}
    alone = LegoMerge(blocks, method=method, weights={k: v for k, v in weights.items() if k in pattern}).eval()
    values = {modality: torch.from_numpy(batch.values[modality]) for modality in pattern}
    with torch.inference_mode():
        expected = torch.softmax(run_dense(alone, values, torch.ones(8, len(pattern), dtype=bool))["scores"], -1)
    assert np.abs(found - expected.numpy()).max() < 1e-5


def test_one_block_more_or_less_would_be_noticed(bundles, source):
    both = scores(bundles["toy"], source.decoded("", source.pattern_rows(("picture", "word"), 8)))["scores"]
    one = scores(bundles["toy"], source.decoded("", source.pattern_rows(("picture",), 8)))["scores"]
    assert np.abs(both - one).max() > 1e-3


def test_the_chain_leads_from_the_parents_to_the_graph(bundles):
    proofs = bundles["toy"].manifest.proofs
    assert [proof.step for proof in proofs] == ["merge", "collapse", "onnx"]
    assert all(later.reads == earlier.writes for earlier, later in pairwise(proofs))
    assert proofs[-1].writes == bundles["toy"].manifest.files["graphs/model.onnx"].sha256


def test_the_proofs_cover_every_pattern_and_the_batch_sizes(bundles):
    merge, collapse, onnx = (
        [measured.inputs for measured in proof.measurements] for proof in bundles["toy"].manifest.proofs
    )
    for pattern in patterns(NAMES):
        name = "+".join(pattern)
        assert any(inputs.endswith(f"only {name}") for inputs in merge)
        assert any(inputs.endswith(f"with {name}") for inputs in onnx)
    for size in (1, 2, 7, 8):
        assert any(inputs.startswith(f"{size} held-out rows of mixed") for inputs in onnx)
    assert any("float64" in inputs and "random" in inputs for inputs in collapse)


def test_the_collapse_is_near_the_rounding_of_float64(bundles):
    for bundle in bundles.values():
        (collapse,) = (proof for proof in bundle.manifest.proofs if proof.step == "collapse")
        folded = [measured for measured in collapse.measurements if measured.inputs.startswith("float64,")]
        assert folded
        assert max(measured.error for measured in folded) < 1e-12


def test_the_weights_are_plain_and_of_one_path(bundles):
    state = load_file(bundles["toy"].path / bundles["toy"].manifest.weights)
    assert not [name for name in state if "parametrizations" in name or "auxiliar" in name]
    assert {tensor.dtype for tensor in state.values()} <= {torch.float32, torch.int64, torch.bool}


def test_probes_hold_every_pattern_and_the_graph_answers_them(bundles):
    bundle = bundles["toy"]
    rows = [row.payloads for row in bundle.probes.rows]
    assert {tuple(name for name in NAMES if name in row) for row in rows} == set(patterns(NAMES))
    source = RowSource(bundle.manifest.modalities, Path("nowhere"), rows)
    found = scores(bundle, source.decoded("", rows))["scores"] if len(rows) <= 8 else None
    if found is None:
        found = np.concatenate(
            [scores(bundle, source.decoded("", rows[i : i + 8]))["scores"] for i in range(0, len(rows), 8)]
        )
    assert np.abs(found - bundle.probes.expected()).max() <= bundle.manifest.probe_tolerance
    assert np.abs(found - np.roll(bundle.probes.expected(), 1, axis=0)).max() > bundle.manifest.probe_tolerance


def test_every_proof_holds_when_it_is_measured_again(bundles):
    assert {name: first_broken(rerun(bundle)) for name, bundle in bundles.items()} == dict.fromkeys(bundles)


def test_settings_are_written_out_in_full(bundles):
    picture = bundles["toy"].manifest.modalities[0]
    assert picture.settings["resample"] == "bilinear"
    assert picture.limits["max_bytes"] > 0


def test_building_again_gives_the_same_id_and_replaces_the_bundle(bundles, tmp_path):
    recipe = yaml.safe_load(RECIPE.read_text())
    recipe["bundles"] = {"toy-word": recipe["bundles"]["toy-word"]}
    shutil.copy(RECIPE.parent / "train.py", tmp_path)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    shutil.copytree(bundles["toy-stack"].path, tmp_path / "out/toy-word")
    (again,) = build(tmp_path / "recipe.yaml", tmp_path / "out", SilentProgress())
    assert again.id == open_bundle(tmp_path / "out/toy-word").id == bundles["toy-word"].id


def test_a_step_over_its_tolerance_ends_the_build_and_writes_nothing(tmp_path):
    recipe = recipe_in(tmp_path, bundles=WORD, tolerances={"onnx": 1e-12, "onnx_random": 1e-12})
    with pytest.raises(ParityError, match="onnx changed the result"):
        build(recipe, tmp_path / "out", SilentProgress())
    assert not [*(tmp_path / "out").glob("*")]


def test_a_missed_gate_ends_the_build_and_writes_nothing(tmp_path):
    recipe = recipe_in(tmp_path, bundles=WORD, gates={"min_accuracy": {"word": 0.5}})
    with pytest.raises(GateError, match=r"gates\.min_accuracy\.word: accuracy is 33\.3 %"):
        build(recipe, tmp_path / "out", SilentProgress())
    assert not [*(tmp_path / "out").glob("*")]


def test_the_robustness_report_is_of_the_graph_on_the_held_out_rows_beside_each_encoder(bundles, toy_code):
    held_out = toy_code.train({"rows": 12}, seed=3, progress=None)
    source = RowSource(bundles["toy"].manifest.modalities, Path("nowhere"), held_out.rows)
    report = robustness_from_bundle(bundles["toy"].path)
    answers = {
        pattern: scores(bundles["toy"], source.decoded("", source.pattern_rows(pattern, 12)))["scores"].argmax(1)
        for pattern in patterns(NAMES)
    }
    agreements = {pattern: (answer == answers[NAMES]).mean() for pattern, answer in answers.items()}
    assert len({*agreements.values()}) > 1
    for pattern, answer in answers.items():
        assert report.pattern(pattern).agreement.value == round(agreements[pattern], 6)
        assert report.pattern(pattern).metric.value == round((answer == held_out.targets).mean(), 6)
    assert set(report.encoders) == set(NAMES)
    assert report.notes["graph"] == "the figures are those of the graph in fp32"


def test_a_wrong_setting_is_told_before_anything_is_trained(tmp_path):
    recipe = yaml.safe_load(RECIPE.read_text())
    recipe["modalities"]["picture"]["settings"]["height"] = 0
    recipe["modalities"]["word"]["settings"]["length"] = "many"
    (tmp_path / "train.py").write_text("def train(*a, **k): raise AssertionError('trained')")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    with pytest.raises(RecipeError, match=r"(?s)picture.*word"):
        build(tmp_path / "recipe.yaml", tmp_path / "out", SilentProgress())


def test_a_proof_edited_by_hand_is_refused(bundles, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(bundles["toy-word"].path, copy)
    raw = json.loads((copy / MANIFEST).read_text())
    raw["proofs"][0]["measurements"][0]["error"] = 0.5
    (copy / MANIFEST).write_text(json.dumps(raw))
    with pytest.raises(BundleIntegrityError, match=MANIFEST):
        open_bundle(copy)


def recipe_in(folder, code=None, **changes):
    """Write the toy recipe with changes, and with other training code where given."""
    recipe = yaml.safe_load(RECIPE.read_text()) | changes
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    toy = (RECIPE.parent / "train.py").read_text()
    (folder / "train.py").write_text(toy if code is None else f"{toy}\n\n{code}")
    return folder / "recipe.yaml"


WORD = {"toy-word": {"model": "encoder", "source": "word"}}
CHANGED = """
import dataclasses
original = train

def train(settings, *, seed, progress):
    trained = original(settings, seed=seed, progress=progress)
    return dataclasses.replace(trained, {change})
"""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("rows=[dict(row, picture=b'junk') for row in trained.rows]", r"rows\.0\.picture: cannot be used"),
        ("rows=[{'word': b'a', 'cells': b'[1, 2]'}]", r"rows\.0\.picture: is missing"),
        ("rows=[]", "no held-out rows"),
        ("fused={'stack': LegoFuse({'smell': blocks()['word']})}", "'smell', which the recipe has not"),
    ],
)
def test_rows_and_models_that_do_not_fit_the_recipe_are_told(tmp_path, change, told):
    path = recipe_in(tmp_path, CHANGED.format(change=change))
    with pytest.raises(RecipeError, match=told):
        build(path, tmp_path / "out", SilentProgress())


def test_labels_that_do_not_fit_the_scores_are_told(tmp_path):
    path = recipe_in(tmp_path, labels=["one", "two"], bundles=WORD)
    with pytest.raises(RecipeError, match=r"labels: there are 2, and the models give scores of shape \(3,\)"):
        build(path, tmp_path / "out", SilentProgress())


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
def test_a_weight_that_is_not_positive_is_told_before_training(tmp_path, weight):
    path = recipe_in(tmp_path, bundles={"toy": {"model": "merged", "weights": {"word": weight}}})
    with pytest.raises(RecipeError, match=r"weights\.word"):
        build(path, tmp_path / "out", SilentProgress())


MIXING = """
class Mixing(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(Encoder(8, 10), nn.Linear(10, 3))
    def forward(self, values):
        h = self.inner(values)
        return h * torch.softmax(h, 0)
""" + CHANGED.format(change="encoders={'word': Mixing().eval()}")


@pytest.mark.parametrize("absent", ["allowed", "required"])
def test_an_encoder_whose_rows_depend_on_each_other_is_refused(tmp_path, absent):
    modalities = yaml.safe_load(RECIPE.read_text())["modalities"]
    modalities["word"]["absent"] = absent
    path = recipe_in(tmp_path, MIXING, bundles=WORD, modalities=modalities)
    with pytest.raises(ParityError):
        build(path, tmp_path / "out", SilentProgress())


def test_what_absence_means_is_recorded_as_it_is(bundles):
    assert {entry.absent for entry in bundles["toy"].manifest.modalities} == {"remerge"}
    assert {entry.absent for entry in bundles["toy-stack"].manifest.modalities} == {"skip"}


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path):
    path = recipe_in(tmp_path, "def train(*a, **k): raise AssertionError('trained')", bundles=WORD)
    thesis = tmp_path / "out" / "toy-word" / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years of work")
    with pytest.raises(BundleIntegrityError, match="is not a bundle"):
        build(path, tmp_path / "out", SilentProgress())
    assert thesis.read_text() == "years of work"


@pytest.mark.parametrize("place", ["file", "file/deeper", "/proc/nowhere"])
def test_an_output_that_cannot_be_a_folder_is_told_before_training(tmp_path, place):
    path = recipe_in(tmp_path, "def train(*a, **k): raise AssertionError('trained')", bundles=WORD)
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleIntegrityError, match="cannot be made a folder"):
        build(path, tmp_path / place, SilentProgress())


def test_a_merge_is_held_against_the_blocks_as_they_were_trained(bundles, toy_code, source):
    (merge,) = (proof for proof in bundles["toy"].manifest.proofs if proof.step == "merge")
    assert max(measured.error for measured in merge.measurements) < 1e-12
    model = LegoMerge(toy_code.blocks(), method="harmonic").eval()
    with pytest.raises(ParityError, match="merge changed"):
        prove_merge(
            model,
            {name: shifted(block) for name, block in toy_code.blocks().items()},
            lambda names: LegoMerge({name: toy_code.blocks()[name] for name in names}).eval(),
            source=source,
            tolerance=1e-10,
        )


def shifted(block):
    for parameter in block.head.parameters():
        parameter.data += 0.01
    return block
