"""What a recipe may say under `export.precision`."""

import pytest
from pydantic import TypeAdapter, ValidationError

from onepath.contract.graphs import PRECISIONS
from onepath.export.precision.gates import PrecisionGate, PrecisionGates
from onepath.export.recipe.precision import PrecisionPlan, WantedGraph, precision_problems, wanted_graphs

PLAN = TypeAdapter(PrecisionPlan)


def plan(raw):
    return wanted_graphs(PLAN.validate_python(raw))


@pytest.mark.parametrize("word", PRECISIONS)
def test_a_word_wants_one_graph(word):
    assert plan(word) == (WantedGraph(default=word),)


def test_a_list_may_mix_words_and_mappings():
    mapping = {"default": "int8", "modalities": {"audio": "fp32"}, "int8": "static"}
    assert [wanted.words for wanted in plan([mapping, "bf16"])] == ["int8, audio fp32", "bf16"]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("int4", "should be 'fp32', 'bf16', 'fp16' or 'int8'"),
        ([{"modalities": {}}], "default"),
        ([{"default": "int8", "modalites": {}}], "modalites"),
        ([{"default": "int8", "int8": "guess"}], "'auto', 'dynamic' or 'static'"),
    ],
)
def test_what_is_no_plan_is_refused_in_words(raw, words):
    with pytest.raises(ValidationError, match=words):
        plan(raw)


def test_a_modality_that_is_not_there_is_named_with_the_nearest():
    wanted = plan([{"default": "int8", "modalities": {"audoi": "fp32"}}])
    (problem,) = precision_problems(wanted, ["image", "audio"])
    assert problem[0] == "export.precision.0.modalities.audoi"
    assert "did you mean 'audio'" in problem[1]
    assert precision_problems(wanted, ["image", "audoi"]) == []


@pytest.mark.parametrize("more", [{"machine": "gpu"}, {"modalities": {"audio": "bf16"}}])
def test_int8_for_a_gpu_cannot_be_dynamic(more):
    wanted = plan([{"default": "int8", "int8": "dynamic", **more}])
    ((path, problem),) = precision_problems(wanted, ["audio"])
    assert path == "export.precision.0.int8"
    assert "takes no ranges from running batches" in problem
    assert precision_problems(plan([{"default": "int8", "int8": "dynamic"}]), ["audio"]) == []


def test_a_graph_that_is_wanted_twice_is_a_problem():
    wanted = plan(["int8", {"default": "int8", "modalities": {"audio": "int8"}}])
    assert precision_problems(wanted, ["audio"]) == [("export.precision.1", "wants int8, as export.precision.0 does")]


@pytest.mark.parametrize(
    ("raw", "machine"),
    [
        ("int8", "cpu"),
        ("bf16", "gpu"),
        ("fp16", "gpu"),
        ([{"default": "int8", "modalities": {"audio": "bf16"}}], "gpu"),
        ([{"default": "int8", "machine": "gpu"}], "gpu"),
    ],
)
def test_int8_must_pay_on_a_cpu_and_16_bits_on_a_gpu_unless_said_otherwise(raw, machine):
    assert plan(raw)[0].target == machine


def test_the_default_gate_of_accuracy_is_half_a_point_for_every_precision():
    gates = PrecisionGates()
    assert {gates.gate([precision]).accuracy_loss for precision in ("int8", "bf16", "fp16")} == {0.005}


def test_a_graph_of_several_precisions_has_the_widest_of_their_limits():
    int8 = PrecisionGate(max_abs=0.5, mean_abs=0.1, cosine_distance=0.1, flips=0.0)
    bf16 = PrecisionGate(max_abs=0.1, mean_abs=0.2, cosine_distance=0.1, flips=0.3)
    gate = PrecisionGates(int8=int8, bf16=bf16).gate(["int8", "bf16", "fp32"])
    assert (gate.max_abs, gate.mean_abs, gate.flips) == (0.5, 0.2, 0.3)


def test_float32_has_no_gate():
    with pytest.raises(ValueError, match="has no gate"):
        PrecisionGates().gate(["fp32"])
