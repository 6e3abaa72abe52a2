"""The comparison with and without a pathway: equal training, honest figures, reproducible."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization import scales
from onepath.training import rows_from_tensors
from onepath.training.pathway import PathwayData, PathwaySettings, train_with_pathway

SETTINGS = PathwaySettings(epochs=3, auxiliary_epochs=4, pathway_epochs=5, batch_size=16, learning_rate=0.02)
LAYERS = ["0", "2"]


class Told:
    """Stages that remember what they were told."""

    def __init__(self) -> None:
        self.stages: list[list] = []
        self.notes: list[str] = []

    @contextmanager
    def __call__(self, title: str, total: int):
        self.stages.append([title, total, 0])
        yield self

    def advance(self, steps: int = 1) -> None:
        self.stages[-1][2] += steps

    def note(self, text: str) -> None:
        self.notes.append(text)


def classifier() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))


def rows(count: int, seed: int, names: str = "values"):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, 6, generator=generator)
    return rows_from_tensors({names: values}, values[:, :3].argmax(dim=1))


def run(seed: int = 0, settings: PathwaySettings = SETTINGS, told: Told | None = None):
    torch.manual_seed(5)
    data = PathwayData(target=rows(96, 1), held_out=rows(60, 2), auxiliary=rows(96, 3, "others"))
    return train_with_pathway(
        classifier(), classifier(), data, settings, layers=LAYERS, seed=seed, stages=told or Told()
    )


def test_the_target_comes_back_with_a_trained_pathway() -> None:
    result = run()
    assert not result.model.training
    assert {path: values[0] for path, values in scales(result.model).items()} == result.scales
    assert list(result.scales) == ["0.weight", "2.weight"]
    assert all(abs(scale) > 1e-4 for scale in result.scales.values())


def test_both_copies_learn_on_for_as_many_epochs() -> None:
    told = Told()
    run(told=told)
    assert [(total, done) for _, total, done in told.stages] == [(4, 4), (3, 3), (5, 5), (5, 5)]


def test_the_accuracies_are_those_of_the_held_out_rows() -> None:
    result = run()
    held_out = rows(60, 2)
    answers = result.model(held_out.values["values"]).argmax(dim=1)
    assert result.accuracies["with_pathway"] == pytest.approx(float((answers == held_out.target).double().mean()))
    assert set(result.accuracies) == {"alone", "with_pathway", "without_pathway"}
    assert 0.5 < result.accuracies["alone"] < result.accuracies["with_pathway"]


def test_each_stage_tells_its_loss_and_those_of_the_target_what_they_lead_to() -> None:
    told = Told()
    accuracies = run(told=told).accuracies
    assert [note for note in told.notes if not note.startswith("loss ")] == []
    reached = [note.partition(", ")[2] for note in told.notes if "right" in note]
    assert reached == [f"{accuracies[key]:.1%} of held-out rows right" for key in accuracies]


def test_the_gain_of_the_pathway_is_that_of_the_same_rows_with_its_interval() -> None:
    result = run()
    gain, rows_held_out = result.gain, result.held_out_rows
    assert rows_held_out == 60
    assert gain.value == pytest.approx(result.accuracies["with_pathway"] - result.accuracies["without_pathway"])
    assert -1 <= gain.low <= gain.value <= gain.high <= 1
    assert gain.low < gain.high


def test_a_pathway_that_cannot_move_makes_no_difference() -> None:
    slow = SETTINGS.model_copy(update={"scale_factor": 1e-30})
    result = run(settings=slow)
    assert result.accuracies["with_pathway"] == result.accuracies["without_pathway"]
    assert (result.gain.low, result.gain.value, result.gain.high) == (0, 0, 0)


def test_one_seed_gives_one_result() -> None:
    first, second, other = run(0), run(0), run(1)
    assert (first.scales, first.accuracies) == (second.scales, second.accuracies)
    assert first.scales != other.scales


def test_the_details_are_json_of_plain_numbers() -> None:
    result = run()
    details = json.loads(json.dumps(result.details()))
    assert set(details) == {"held_out_rows", "held_out_accuracy", "pathway_gain", "pathway_scales"}
    assert set(details["pathway_gain"]) == {"value", "low", "high", "level"}
    assert details["held_out_rows"] == 60
    np.testing.assert_allclose(list(details["pathway_scales"].values()), list(result.scales.values()), rtol=1e-3)
    assert all(len(str(abs(scale))) <= 10 for scale in details["pathway_scales"].values())


def test_models_that_cannot_be_joined_are_refused() -> None:
    data = PathwayData(target=rows(32, 1), held_out=rows(32, 2), auxiliary=rows(32, 3))
    other = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    with pytest.raises(UnsupportedModuleError, match="weight is"):
        train_with_pathway(classifier(), other, data, SETTINGS, layers=LAYERS, seed=0, stages=Told())
