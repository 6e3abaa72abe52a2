import math

import pytest
import torch

from onepath.training.early_stopping import EarlyStopping
from tests.training.small_data import linear


def test_the_best_weights_are_copies_and_are_really_restored():
    model = linear()
    best = EarlyStopping(model, mode="min", patience=None)
    with torch.no_grad():
        model.weight.fill_(1.0)
    best.observe(1, 0.5)
    with torch.no_grad():
        model.weight.fill_(2.0)
    best.observe(2, 0.7)
    best.restore()
    assert (model.weight == 1).all()
    assert (best.best_epoch, best.best_value) == (1, 0.5)


def test_before_the_first_epoch_the_initial_weights_are_the_best():
    model = linear()
    before = model.weight.detach().clone()
    best = EarlyStopping(model, mode="max", patience=None)
    with torch.no_grad():
        model.weight.fill_(9.0)
    best.restore()
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize(("mode", "values"), [("min", [3, 2, 2, 2.5]), ("max", [1, 2, 2, 1.5])])
def test_it_stops_after_patience_epochs_without_a_better_value(mode, values):
    best = EarlyStopping(linear(), mode=mode, patience=2)
    assert [best.observe(epoch, value) for epoch, value in enumerate(values, 1)] == [False, False, False, True]


def test_a_better_value_begins_the_waiting_anew():
    best = EarlyStopping(linear(), mode="min", patience=2)
    assert [best.observe(epoch, value) for epoch, value in enumerate([3, 4, 2, 4, 1], 1)] == [False] * 5
    assert best.best_epoch == 5


def test_nan_is_never_better():
    best = EarlyStopping(linear(), mode="max", patience=None)
    assert not best.improves(math.nan)
    best.observe(1, 0.5)
    assert not best.improves(math.nan)


def test_without_values_the_last_epoch_is_the_best():
    best = EarlyStopping(linear(), mode="min", patience=None)
    assert not any(best.observe(epoch, None) for epoch in (1, 2, 3))
    assert best.best_epoch == 3
