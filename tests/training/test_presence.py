import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onepath.training import TrainingError
from onepath.training.presence import drop_modalities, dropout_probabilities

ALL = torch.ones(4000, 3, dtype=torch.bool)


def dropped(present, chances, seed=0):
    return drop_modalities(present, torch.tensor(chances), torch.Generator().manual_seed(seed))


def test_each_modality_is_dropped_with_its_own_chance():
    kept = dropped(ALL, [0.0, 0.2, 0.6]).double().mean(0)
    assert kept[0] == 1
    assert kept[1:].tolist() == pytest.approx([0.8, 0.4], abs=0.03)


def test_a_row_that_would_lose_everything_keeps_one_modality_with_equal_chances():
    kept = dropped(ALL, [1.0, 1.0, 1.0])
    assert (kept.sum(1) == 1).all()
    assert kept.double().mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.booleans(), min_size=2, max_size=2), min_size=1, max_size=9),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(0, 99),
)
def test_nothing_appears_and_no_row_loses_its_last_modality(rows, first, second, seed):
    present = torch.tensor(rows)
    kept = dropped(present, [first, second], seed)
    assert not (kept & ~present).any()
    assert torch.equal(kept.any(1), present.any(1))


def test_without_a_chance_nothing_is_dropped_and_the_presence_given_is_not_changed():
    assert torch.equal(dropped(ALL, [0.0] * 3), ALL)
    before = ALL.clone()
    assert not torch.equal(dropped(ALL, [0.5] * 3), before)
    assert torch.equal(ALL, before)


def test_what_is_dropped_depends_on_the_generator_only():
    assert torch.equal(dropped(ALL, [0.5] * 3, 7), dropped(ALL, [0.5] * 3, 7))
    assert not torch.equal(dropped(ALL, [0.5] * 3, 7), dropped(ALL, [0.5] * 3, 8))


def test_chances_are_given_for_all_or_by_name():
    assert dropout_probabilities(0.25, ["a", "b"]).tolist() == [0.25, 0.25]
    assert dropout_probabilities({"b": 0.5}, ["a", "b"]).tolist() == [0.0, 0.5]
    with pytest.raises(TrainingError, match="modality_dropout of c"):
        dropout_probabilities({"c": 0.5}, ["a", "b"])
