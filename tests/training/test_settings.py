import pytest
from pydantic import ValidationError

from onepath.training import TrainerSettings


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"metric": "concordance_index"}, "does not fit loss"),
        ({"loss": "survival", "metric": "accuracy"}, "loss, concordance_index"),
        ({"loss": "survival", "label_smoothing": 0.1}, "label_smoothing"),
        ({"loss": "multilabel", "class_weights": "inverse"}, "class_weights"),
        ({"learning_rate": 0}, "greater than 0"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"modality_dropout": {"image": 1.5}}, "modality_dropout"),
        ({"epoch": 3}, "epoch"),
        ({"betas": (1.0, 0.9)}, "less than 1"),
        ({"seed": 2**63}, "seed"),
        ({"warm_up_epochs": 3, "epochs": 2}, "warm_up_epochs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, problem):
    with pytest.raises(ValidationError, match=problem):
        TrainerSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "wait"), [({}, 5), ({"patience": 7}, 3), ({"patience": 1}, 1), ({"plateau_patience": 2}, 2)]
)
def test_a_plateau_waits_half_as_long_as_training(settings, wait):
    assert TrainerSettings(**settings).plateau_wait == wait
