import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onepath.training import SurvivalTarget, TrainingError, rows_from_tensors, split_rows
from onepath.training.splits import dealt


def rows_of(target):
    return rows_from_tensors({"a": torch.zeros(len(target), 1)}, target)


def positions(splits):
    return [part.positions for part in (splits.train, splits.validation, splits.test)]


def test_every_row_is_in_one_part():
    splits = split_rows(rows_of(torch.arange(101) % 4), seed=0)
    assert sorted(torch.cat(positions(splits)).tolist()) == list(range(101))
    assert [len(part) for part in positions(splits)] == [71, 15, 15]


def test_every_class_is_split_alike():
    classes = torch.tensor([0] * 200 + [1] * 100 + [2] * 20)
    splits = split_rows(rows_of(classes), seed=1)
    for part, fraction in zip(positions(splits), (0.7, 0.15, 0.15), strict=True):
        assert np.abs(np.bincount(classes[part]) - fraction * np.array([200, 100, 20])).max() <= 2


def test_censored_rows_are_split_alike_in_every_time_bin():
    bins = torch.arange(200) % 2
    events = torch.arange(200) % 4 < 3
    target = SurvivalTarget(bins, torch.ones(200), events)
    splits = split_rows(rows_of(target), seed=0)
    censored = ~splits.test.target.events
    assert torch.bincount(splits.test.target.bins[censored], minlength=2).tolist() == pytest.approx([0, 7.5], abs=1.5)
    assert torch.bincount(splits.test.target.bins[~censored]).tolist() == pytest.approx([15, 7.5], abs=1.5)


def test_a_split_depends_on_its_seed_only():
    data = rows_of(torch.arange(60) % 3)
    first, again, other = (positions(split_rows(data, seed=seed)) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[2], other[2])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=120), st.integers(0, 99))
def test_parts_and_strata_keep_their_fractions(groups, seed):
    fractions = np.array([0.7, 0.15, 0.15])
    labels = np.array(groups, np.int64)
    parts = dealt(labels, fractions, np.random.default_rng(seed))
    assert np.abs([len(part) - share * len(labels) for part, share in zip(parts, fractions, strict=True)]).max() < 1.5
    for group in np.unique(labels):
        sizes = np.array([(labels[part] == group).sum() for part in parts])
        assert np.abs(sizes - fractions * (labels == group).sum()).max() < 2.5


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.5, 0.6, -0.1), (0.5, 0.2, 0.2), (1.0, 0.0, 0.0)])
def test_fractions_that_are_none_are_refused(fractions):
    with pytest.raises(TrainingError, match="sum 1"):
        split_rows(rows_of(torch.zeros(9, dtype=torch.int64)), seed=0, fractions=fractions)


def test_too_few_rows_are_refused():
    with pytest.raises(TrainingError, match="2 rows leave a part empty"):
        split_rows(rows_of(torch.tensor([0, 1])), seed=0)
