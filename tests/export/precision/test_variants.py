"""From what a recipe wants to the graphs that a bundle gets."""

import json
import math
from statistics import geometric_mean

import numpy as np
import onnx
import pytest

from onepath.contract.digests import canonical_json
from onepath.export.precision.gates import PrecisionGate, PrecisionGates
from onepath.export.precision.held_out import answers
from onepath.export.precision.nodes import owners
from onepath.export.precision.sessions import run_from_graph
from onepath.export.precision.variants import precision_variants
from onepath.export.recipe.precision import WantedGraph, wanted_graphs
from tests.export.precision import models

ROWS = 48
OPEN = PrecisionGate(max_abs=0.5, mean_abs=0.05, cosine_distance=0.2, flips=0.2, accuracy_loss=0.2)
GATES = PrecisionGates(int8=OPEN, bf16=OPEN, fp16=OPEN)
SHUT = PrecisionGates(int8=PrecisionGate(max_abs=0, mean_abs=0, cosine_distance=0, flips=0, accuracy_loss=0))
ONE_OF_TWO = WantedGraph(default="fp32", modalities={"left": "int8"}, machine="gpu")
ON_GPU = WantedGraph(default="int8", machine="gpu")  # which is not here: nothing is timed


@pytest.fixture(scope="module")
def targets(reference):
    held_out = models.held_out(ROWS)
    found = answers(run_from_graph(reference.path), held_out, range(ROWS), batch_size=models.BATCH, seed=0)
    return found.first[models.NAMES].argmax(axis=1).tolist()


def outcome(reference, plan, targets, work, gates=GATES):
    return precision_variants(
        reference,
        wanted_graphs(plan),
        entry=models.entry(),
        held_out=models.held_out(ROWS, targets),
        gates=gates,
        seed=0,
        work=work,
    )


@pytest.fixture(scope="module")
def several(reference, targets, tmp_path_factory):
    mixed = WantedGraph(default="int8", modalities={"right": "bf16"})
    plan = [
        "fp32",
        ON_GPU,
        ONE_OF_TWO,
        "bf16",
        "fp16",
        mixed,
    ]
    return outcome(reference, plan, targets, tmp_path_factory.mktemp("work"))


def test_each_graph_that_passes_is_a_variant_with_a_name_and_an_entry_of_its_own(several):
    assert [(each.entry.precisions, each.entry.file) for each in several.variants] == [
        ("int8", "graphs/model.int8.onnx"),
        ("fp32, left int8", "graphs/model.fp32-left_int8.onnx"),
        ("bf16", "graphs/model.bf16.onnx"),
        ("fp16", "graphs/model.fp16.onnx"),
        ("int8, right bf16", "graphs/model.int8-right_bf16.onnx"),
    ]
    assert all(each.file.path.name == each.entry.file.rpartition("/")[2] for each in several.variants)
    assert several.dropped == {}


def test_a_proof_leads_from_the_float32_graph_to_the_variant(reference, several):
    for each in several.variants:
        assert (each.proof.step, each.proof.subject) == ("precision", each.entry.precisions)
        assert (each.proof.reads, each.proof.writes) == (reference.digest, each.file.digest)
        assert all(measured.error <= measured.tolerance for measured in each.proof.measurements)


def test_every_pattern_is_in_the_report_and_the_report_is_json(several):
    report = json.loads(canonical_json(several.report))
    for graph in report["graphs"]:
        measured = graph["attempts"][-1]["measured"]
        patterns = {"left", "right", "left+right"}
        for metric in ("max_abs", "mean_abs", "cosine_distance", "flips", "accuracy_loss"):
            assert {each["rows"] for each in measured if each["metric"] == metric} >= patterns


def test_what_cannot_be_timed_here_is_kept_not_chosen_and_says_so(several):
    assert not any(each.chosen for each in several.variants)
    assert all("not measured here: there is no GPU" in warning for warning in several.warnings)
    assert len(several.warnings) == len(several.variants)


def test_16_bits_on_a_cpu_are_emulated_and_the_proof_says_so(several):
    parity = {each.entry.precisions: each.proof.notes.get("parity", "") for each in several.variants}
    assert parity["int8"] == ""
    assert all("emulated on a CPU" in parity[words] for words in ("bf16", "fp16", "int8, right bf16"))


def test_each_modality_computes_in_the_precision_that_is_wanted_of_it(several):
    graph = several.variants[-1].file.model().graph
    owner = owners(graph, models.NAMES)
    kinds = {name: {node.op_type for node in graph.node if owner.get(node.name) == name} for name in models.NAMES}
    low = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.BFLOAT16}
    readers = {owner.get(node.name) for node in graph.node if low & {*node.input}}
    assert "DequantizeLinear" in kinds["left"]
    assert "DequantizeLinear" not in kinds["right"]
    assert readers == {"right"}


def test_what_fails_its_gate_is_dropped_with_the_measured_reason(reference, targets, tmp_path):
    found = outcome(reference, [ONE_OF_TWO], targets, tmp_path, SHUT)
    assert found.variants == ()
    assert "over 0" in found.dropped["fp32, left int8"]
    assert "left int8 was dropped" in found.warnings[0]
    assert [graph["outcome"] for graph in found.report["graphs"]] == ["dropped"]
    assert [path.name for path in tmp_path.rglob("*.onnx")] == ["named.onnx"]  # of what failed nothing is left


def test_what_passes_may_be_chosen_untimed_if_the_recipe_says_so(reference, targets, tmp_path):
    wanted = ON_GPU.model_copy(update={"choose": "passing"})
    found = outcome(reference, [wanted], targets, tmp_path)
    (variant,) = found.variants
    assert variant.chosen
    (warning,) = found.warnings
    assert warning.startswith("int8 passes its gate and is deployed, as choose: passing wants; not measured here")


def test_a_graph_is_chosen_exactly_where_its_figures_say_that_it_pays(reference, targets, tmp_path):
    found = outcome(reference, ["int8"], targets, tmp_path)
    (variant,) = found.variants
    (graph,) = found.report["graphs"]
    best = next(attempt for attempt in graph["attempts"] if attempt["form"] == graph["form"])
    assert [each["rows"] for each in best["speed"]] == [1, models.BATCH]
    gains = any(each["interval"][0] > 1 for each in best["speed"])
    losses = any(each["interval"][1] < 1 for each in best["speed"])
    worth = geometric_mean(each["ratio"] for each in best["speed"]) >= 1.05
    assert variant.chosen == (gains and not losses and worth)
    assert ("kept, not chosen" in "".join(found.warnings)) == (not variant.chosen)


def test_float32_wants_nothing(reference, targets, tmp_path):
    found = outcome(reference, ["fp32"], targets, tmp_path)
    assert (found.variants, found.dropped, found.warnings) == ((), {}, ())


def test_modalities_that_a_bundle_lacks_are_left_out_of_what_is_wanted(reference, targets, tmp_path):
    elsewhere = ON_GPU.model_copy(update={"modalities": {"video": "fp32"}})
    found = outcome(reference, [ON_GPU, elsewhere], targets, tmp_path)
    assert [each.entry.modality_precision for each in found.variants] == [{}]


@pytest.fixture(scope="module")
def spectrum(tmp_path_factory):
    return models.written(models.two_modalities(spectrum=True), tmp_path_factory.mktemp("spectrum") / "model.onnx")


def test_products_that_int8_harms_are_found_and_left_in_float32(spectrum, tmp_path):
    held_out = models.held_out(ROWS)
    expected = answers(run_from_graph(spectrum.path), held_out, range(ROWS), batch_size=models.BATCH, seed=0)
    labels = expected.first[models.NAMES].argmax(axis=1).tolist()
    found = outcome(spectrum, [ON_GPU], labels, tmp_path)
    first, last = found.report["graphs"][0]["attempts"][0], found.report["graphs"][0]["attempts"][-1]
    assert not first["passes"]
    assert last["passes"]
    assert last["computed"]["int8_products"] == first["computed"]["int8_products"] - 1
    (variant,) = found.variants
    assert "1 product left in float32" in variant.proof.notes["form"]
    floats = {tensor.name: tensor.data_type for tensor in variant.file.model().graph.initializer}
    assert floats["right_differences"] == onnx.TensorProto.FLOAT


def test_a_variant_answers_as_its_report_says(reference, several, targets):
    held_out = models.held_out(ROWS, targets)
    variant = several.variants[0]
    graph = several.report["graphs"][0]
    worst = {each["rows"]: each["error"] for each in graph["attempts"][-1]["measured"] if each["metric"] == "max_abs"}
    assert math.isfinite(worst["left"])
    every = [
        answers(run_from_graph(path), held_out, range(ROWS), batch_size=models.BATCH, seed=0).first[("left",)]
        for path in (reference.path, variant.file.path)
    ]
    assert np.abs(every[0] - every[1]).max() >= worst["left"] - 1e-6  # of rows among which the report's are


@pytest.mark.parametrize(("limit", "needed"), [(0.005, 200), (0.03, 34), (0.05, None)])
def test_a_gate_that_one_row_decides_is_told_with_the_rows_that_it_needs(reference, targets, limit, needed, tmp_path):
    gate = OPEN.model_copy(update={"accuracy_loss": limit})
    gates = PrecisionGates(int8=gate, rows=24)
    found = outcome(reference, [ON_GPU], targets, tmp_path, gates)
    told = [warning for warning in found.warnings if "one row" in warning]
    assert len(told) == (needed is not None)
    if needed is not None:
        assert "on 24 held-out rows of each presence pattern; one row is 4.2 points" in told[0]
        assert f"at least {needed} rows" in told[0]
