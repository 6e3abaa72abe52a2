"""What the gate finds, against closed forms, and the wrong graphs that it must not let pass."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from scipy import stats

from onepath.export.graphs.onnx_file import onnx_file_from_model
from onepath.export.precision.gates import PrecisionGate, PrecisionGates
from onepath.export.precision.held_out import Answered, answers, calibration_batches, split_rows
from onepath.export.precision.int8 import dynamic_int8
from onepath.export.precision.judging import ALONE, MIXED, SINGLE, judge
from onepath.export.precision.nodes import weighted_products
from onepath.export.precision.sessions import run_from_graph
from tests.export.precision import models

GATE = PrecisionGates().int8
ROWS = 64


def answered(scores, **changes):
    """Answers of a graph of one modality that gives the same in any company."""
    scores = np.asarray(scores, np.float32)
    marks = {("left",): np.ones((len(scores), 2), np.uint8), (): np.zeros((1, 2), np.uint8)}
    given = {"first": {("left",): scores}, "marks": marks, "empty": np.zeros((1, scores.shape[1]), np.float32)}
    return Answered(**{**given, "together": scores, "alone": scores, **changes})


def metric(judgement, name, rows="left"):
    (found,) = [each for each in judgement.measured if (each.metric, each.rows) == (name, rows)]
    return found


def one_hot(labels, classes=3):
    return np.eye(classes)[labels]


def test_each_metric_is_what_its_definition_says():
    before, after = [[0.6, 0.4], [0.2, 0.8]], [[0.3, 0.7], [0.2, 0.8]]
    judgement = judge(answered(before), answered(after), targets=[0, 1], task="classification", gate=GATE)
    cosine = (0.6 * 0.3 + 0.4 * 0.7) / np.hypot(0.6, 0.4) / np.hypot(0.3, 0.7)
    expected = {"max_abs": 0.3, "mean_abs": 0.15, "cosine_distance": 1 - cosine, "flips": 0.5, "accuracy_loss": 0.5}
    assert {name: metric(judgement, name).error for name in expected} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("flipped", "rows"), [(0, 40), (3, 40), (40, 40)])
def test_flips_have_wilsons_interval(flipped, rows):
    after = np.r_[np.ones(flipped, int), np.zeros(rows - flipped, int)]
    judgement = judge(
        answered(one_hot(np.zeros(rows, int))), answered(one_hot(after)), targets=[], task="classification", gate=GATE
    )
    expected = stats.binomtest(flipped, rows).proportion_ci(method="wilson")
    assert metric(judgement, "flips").interval == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_accuracy_loss_is_paired_and_its_interval_is_bonett_and_prices():
    targets = np.zeros(100, int)
    before, after = targets.copy(), targets.copy()
    after[:7], before[90:94] = 1, 2  # seven are lost, four are gained
    judgement = judge(
        answered(one_hot(before)), answered(one_hot(after)), targets=targets.tolist(), task="classification", gate=GATE
    )
    found = metric(judgement, "accuracy_loss")
    lost, gained = (7 + 1) / 102, (4 + 1) / 102  # Bonett and Price 2012: a Wald interval of adjusted counts
    half = stats.norm.ppf(0.975) * np.sqrt((lost + gained - (lost - gained) ** 2) / 102)
    assert found.error == pytest.approx(0.03)
    assert found.interval == pytest.approx((lost - gained - half, lost - gained + half), abs=1e-9)
    assert not found.passes


def test_without_targets_flips_stand_and_accuracy_is_left_out():
    same = answered(one_hot([0, 1]))
    found = {each.metric for each in judge(same, same, targets=[], task="classification", gate=GATE).measured}
    assert found == {"max_abs", "mean_abs", "cosine_distance", "flips"}


def test_an_embedding_is_judged_by_cosine_and_relative_to_its_size():
    before = np.array([[30.0, 40.0], [0.0, 50.0]])
    after = np.array([[30.0, 40.0], [5.0, 50.0]])
    judgement = judge(answered(before), answered(after), targets=[0, 1], task="embedding", gate=GATE)
    assert {each.metric for each in judgement.measured} == {"max_relative", "cosine_distance"}
    assert metric(judgement, "max_relative").error == pytest.approx(5 / 50)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"marks": {("left",): np.zeros((2, 2), np.uint8), (): np.zeros((1, 2), np.uint8)}}, "presence or row status"),
        ({"empty": np.full((1, 3), 1e-6, np.float32)}, "rows that have nothing"),
        ({"first": {("left",): np.full((2, 3), np.nan)}}, "inf with left"),
        ({"alone": one_hot([1, 0])}, "one by one"),
        ({"alone": one_hot([1, 0]), "together": one_hot([1, 0])}, MIXED),
    ],
)
def test_what_no_tolerance_allows_fails_with_words(change, words):
    right = answered(one_hot([0, 1]))
    wrong = answered(one_hot([0, 1]), **change)
    judgement = judge(right, wrong, targets=[], task="classification", gate=GATE)
    assert not judgement.passes
    assert judge(right, right, targets=[], task="classification", gate=GATE).passes
    assert any(word in judgement.reason for word in words.split("|"))


def test_the_proof_has_one_measurement_a_metric_that_of_the_worst_pattern():
    scores = one_hot([0, 1])
    first = {("left",): scores, ("right",): scores}
    marks = dict.fromkeys([("left",), ("right",), ()], np.ones((2, 2), np.uint8))
    before = answered(scores, first=first, marks=marks)
    after = answered(scores, first=first | {("right",): 0.9 * scores}, marks=marks)
    measurements = judge(before, after, targets=[0, 1], task="classification", gate=GATE).measurements()
    assert [each.metric for each in measurements] == [
        *("max_abs", "mean_abs", "cosine_distance", "flips", "accuracy_loss", "max_abs", "max_abs", "max_abs"),
    ]
    assert measurements[0].error == pytest.approx(0.1)
    assert "2 held-out rows of each of 2 presence patterns, worst with right" in measurements[0].inputs
    others = [each.inputs.removeprefix("held-out rows of mixed patterns, ") for each in measurements[-3:]]
    assert others == [MIXED, SINGLE, ALONE]


@pytest.fixture(scope="module")
def expected(reference):
    return answers(run_from_graph(reference.path), models.held_out(ROWS), range(ROWS), batch_size=models.BATCH, seed=0)


@pytest.fixture(scope="module")
def quantised(named, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantised")
    (folder / "q").mkdir()
    graph = onnx_file_from_model(named, folder / "named.onnx")
    return dynamic_int8(graph, weighted_products(named.graph, ("Gemm", "MatMul")), folder / "q" / "m.onnx")


@pytest.fixture(scope="module")
def targets(expected):
    return expected.first[models.NAMES].argmax(axis=1).tolist()


def judged(path, expected, targets):
    held_out = models.held_out(ROWS, targets)
    found = answers(run_from_graph(path), held_out, range(ROWS), batch_size=models.BATCH, seed=0)
    return judge(expected, found, targets=targets, task="classification", gate=WIDE)


WIDE = PrecisionGate(max_abs=0.25, mean_abs=0.01, cosine_distance=0.05, flips=0.1, accuracy_loss=0.05)
"""Rows of noise lie near the border between two classes; a trained model's do not."""


def scaled_scales(model):
    for tensor in model.graph.initializer:
        if tensor.name.endswith("_scale"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.2), tensor.name))


def zeroed_layer(model):
    weights = [tensor for tensor in model.graph.initializer if tensor.name.endswith("_quantized")]
    array = numpy_helper.to_array(weights[3])
    weights[3].CopyFrom(numpy_helper.from_array(np.zeros_like(array), weights[3].name))


def test_the_right_graph_passes(quantised, expected, targets):
    assert judged(quantised.path, expected, targets).reason == ""


@pytest.mark.parametrize("spoil", [scaled_scales, zeroed_layer])
def test_a_wrong_graph_fails(quantised, expected, targets, spoil, tmp_path):
    model = quantised.model()
    spoil(model)
    onnx.save(model, tmp_path / "m.onnx")
    assert judged(tmp_path / "m.onnx", expected, targets).reason


@pytest.mark.parametrize(
    ("rows", "calibration", "shared"), [(100, 20, False), (40, 20, False), (8, 20, False), (7, 3, True)]
)
def test_rows_to_calibrate_on_are_kept_apart_where_there_are_enough(rows, calibration, shared):
    split = split_rows(rows, calibration=calibration, gate=512, seed=3)
    assert split.is_disjoint != shared
    assert len(split.calibration) == (min(calibration, rows // 4) if rows >= 8 else calibration)
    assert len({*split.gate} | {*split.calibration}) == rows
    assert ("measured too" in split.note) == shared


def test_the_gates_rows_are_capped_and_the_seed_decides_which():
    first, again, other = (split_rows(1000, calibration=64, gate=512, seed=seed) for seed in (0, 0, 1))
    assert len(first.gate) == 512
    assert first == again
    assert first != other


def test_a_batch_to_calibrate_on_has_every_modality_and_in_time_every_pattern():
    batches = list(calibration_batches(models.source(6), range(6), 4))
    states = [np.concatenate([batch.states[name] for name in models.NAMES], axis=1) for batch in batches]
    assert all(state.any(axis=0).all() for state in states)
    assert {tuple(row) for state in states for row in state.tolist()} == {(1, 0), (0, 1), (1, 1)}
