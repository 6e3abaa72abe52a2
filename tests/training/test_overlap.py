import pytest
import torch
from pydantic import ValidationError

from onepath.contract.errors import OnepathError
from onepath.merging.lego import LegoMerge
from onepath.training import (
    OverlapSettings,
    TrainerSettings,
    TrainingError,
    fit,
    measure_overlap,
    only_modality,
    predictions,
    reproducible,
    rows_at,
    split_rows,
)
from onepath.training.overlap import overlapping_rows
from tests.training.small_data import QUICK, block, class_rows

SETTINGS = OverlapSettings(
    rows=60, evaluation_rows=40, overlaps=(0.0, 0.5, 1.0), seeds=(0, 1), methods=("sum", "harmonic"), trainer=QUICK
)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 1.0])
def test_modalities_share_the_fraction_of_their_rows_and_no_more(overlap):
    rows = overlapping_rows(class_rows(200), SETTINGS, overlap=overlap, seed=0)
    first, second = (set(positions.tolist()) for positions in rows.own.values())
    assert len(first) == len(second) == 60
    assert len(first & second) == overlap * 60


@pytest.mark.parametrize("overlap", [0.0, 1.0])
def test_no_evaluation_row_is_trained_on(overlap):
    rows = overlapping_rows(class_rows(200), SETTINGS, overlap=overlap, seed=0)
    assert len(set(rows.evaluation.tolist())) == 40
    assert not set(rows.evaluation.tolist()) & {row for own in rows.own.values() for row in own.tolist()}


def test_the_evaluation_rows_of_a_seed_are_the_same_for_every_overlap():
    data = class_rows(200)
    none, all_ = (overlapping_rows(data, SETTINGS, overlap=overlap, seed=4) for overlap in (0.0, 1.0))
    assert torch.equal(none.evaluation, all_.evaluation)
    assert not torch.equal(none.evaluation, overlapping_rows(data, SETTINGS, overlap=0.0, seed=5).evaluation)


def test_rows_that_lack_a_modality_are_not_used():
    data = class_rows(400, missing=0.2)
    rows = overlapping_rows(data, SETTINGS, overlap=0.0, seed=0)
    assert all(data.present[positions].all() for positions in [*rows.own.values(), rows.evaluation])


def test_too_few_rows_are_refused():
    with pytest.raises(TrainingError, match="150 have every modality and the experiment needs 160"):
        overlapping_rows(class_rows(150), SETTINGS, overlap=1.0, seed=0)


def by_hand(data, overlap, seed):
    rows = overlapping_rows(data, SETTINGS, overlap=overlap, seed=seed)
    blocks = {}
    for name, own in rows.own.items():
        with reproducible(seed):
            blocks[name] = block(name, seed)
        splits = split_rows(only_modality(rows_at(data, own), name), seed=seed)
        fit(blocks[name], splits.train, splits.validation, QUICK.model_copy(update={"seed": seed}))
    paired = rows_at(data, rows.evaluation)
    values = {name: data.values[name][rows.evaluation] for name in blocks}
    logits = {name: part(values[name]) for name, part in blocks.items()}
    logits["ensemble"] = (logits["a"] + logits["b"]) / 2
    logits["sum"] = predictions(LegoMerge(blocks, method="sum"), paired)
    return {name: float((part.argmax(1) == paired.target).double().mean()) for name, part in logits.items()}


def test_the_experiment_is_training_apart_merging_and_measuring_on_paired_rows():
    data = class_rows(200)
    result = measure_overlap(data, block, SETTINGS)[1]
    hand = [by_hand(data, 0.5, seed) for seed in (0, 1)]
    assert result.overlap == 0.5
    assert result.merged["sum"].values == tuple(run["sum"] for run in hand)
    assert result.ensemble.values == tuple(run["ensemble"] for run in hand)
    assert result.blocks["b"].values == tuple(run["b"] for run in hand)
    assert result.ensemble.values != result.blocks["b"].values


def test_there_is_a_result_for_every_overlap_method_and_modality():
    settings = SETTINGS.model_copy(
        update={"rows": 150, "trainer": QUICK.model_copy(update={"epochs": 8}), "seeds": (0,)}
    )
    results = measure_overlap(class_rows(400), block, settings)
    assert [result.overlap for result in results] == [0.0, 0.5, 1.0]
    assert all(set(result.merged) == {"sum", "harmonic"} and set(result.blocks) == {"a", "b"} for result in results)
    assert all(figure.mean > 0.6 for result in results for figure in result.merged.values())  # 1/3 by chance


def test_the_experiment_depends_on_its_seeds_only():
    short = SETTINGS.model_copy(update={"overlaps": (0.5,)})
    assert measure_overlap(class_rows(200), block, short) == measure_overlap(class_rows(200), block, short)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"metric": "loss"}, "accuracy, auc"),
        ({"metric": "concordance_index"}, "accuracy, auc"),
        ({"trainer": TrainerSettings(loss="survival")}, "use concordance_index"),
        ({"seeds": (1, 1)}, "twice"),
        ({"overlaps": (0.5, 0.5)}, "twice"),
        ({"methods": ("sum", "sum")}, "twice"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, problem):
    with pytest.raises(ValidationError, match=problem):
        OverlapSettings(**{"rows": 60, "evaluation_rows": 40, **change})


@pytest.mark.parametrize(
    ("change", "problem"), [({"methods": ("harmonc",)}, "did you mean 'harmonic'"), ({"head": "slrp"}, "slerp")]
)
def test_what_cannot_be_merged_is_refused_before_anything_is_trained(monkeypatch, change, problem):
    monkeypatch.setattr("onepath.training.overlap.fit", lambda *_: pytest.fail("trained"))
    with pytest.raises(OnepathError, match=problem):
        measure_overlap(class_rows(200), block, SETTINGS.model_copy(update=change))
