import math
from itertools import pairwise

import pytest
import torch

from onepath.training.schedules import LearningRate


def rate(kind="constant", *, steps=10, warm_up_steps=0, final=0.0, patience=1):
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimiser = torch.optim.SGD([{"params": parameters[:1], "lr": 1.0}, {"params": parameters[1:], "lr": 10.0}])
    return optimiser, LearningRate(
        optimiser, kind=kind, steps=steps, warm_up_steps=warm_up_steps, final=final, patience=patience
    )


def rates(kind, **form):
    optimiser, learning_rate = rate(kind, **form)
    found = []
    for step in range(form.get("steps", 10)):
        learning_rate.set(step)
        found.append(optimiser.param_groups[0]["lr"])
    return found


def test_a_cosine_falls_from_the_full_rate_to_the_final_share_in_the_last_step():
    expected = [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / 9)) for step in range(10)]
    assert rates("cosine", final=0.1) == pytest.approx(expected)


def test_the_warm_up_rises_linearly_and_the_cosine_begins_after_it():
    found = rates("cosine", steps=12, warm_up_steps=4)
    assert found[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert found[-1] == pytest.approx(0.0)
    assert all(later < earlier for earlier, later in pairwise(found[4:]))


def test_a_constant_rate_stays():
    assert rates("constant") == [1.0] * 10


def test_a_warm_up_as_long_as_the_training_is_all_there_is():
    assert rates("cosine", steps=4, warm_up_steps=4) == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_every_group_keeps_its_own_highest_rate():
    optimiser, learning_rate = rate("cosine", warm_up_steps=2)
    learning_rate.set(0)
    assert [group["lr"] for group in optimiser.param_groups] == [0.5, 5.0]


def test_a_plateau_halves_the_rate_after_more_epochs_than_its_patience():
    optimiser, learning_rate = rate("plateau", patience=2)
    found = []
    for improved in [True, False, False, False, False, True]:
        learning_rate.end_epoch(improved=improved)
        learning_rate.set(0)
        found.append(optimiser.param_groups[0]["lr"])
    assert found == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]


def test_other_schedules_do_not_look_at_validation():
    optimiser, learning_rate = rate("constant", patience=1)
    for _ in range(5):
        learning_rate.end_epoch(improved=False)
    learning_rate.set(0)
    assert optimiser.param_groups[0]["lr"] == 1.0
