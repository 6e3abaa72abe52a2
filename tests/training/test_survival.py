import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from onepath.training import TrainingError, survival_target, time_bin_edges
from onepath.training.survival import survival_risk

TIMES = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 100.0, 200.0])
EVENTS = np.array([True] * 8 + [False] * 2)


def test_edges_are_quantiles_of_the_observed_times():
    assert_allclose(time_bin_edges(TIMES, EVENTS, bins=4), np.quantile(np.arange(1.0, 9.0), [0.25, 0.5, 0.75]))


def test_censored_times_move_no_edge():
    moved = TIMES.copy()
    moved[8:] = 0.5
    assert_allclose(time_bin_edges(moved, EVENTS, bins=4), time_bin_edges(TIMES, EVENTS, bins=4))
    assert abs(time_bin_edges(TIMES, np.ones(10, bool), bins=4) - time_bin_edges(TIMES, EVENTS, bins=4)).max() > 0.4


def test_every_bin_holds_as_many_observed_events():
    target = survival_target(TIMES, EVENTS, time_bin_edges(TIMES, EVENTS, bins=4))
    assert torch.bincount(target.bins[target.events]).tolist() == [2, 2, 2, 2]


def test_a_time_on_an_edge_belongs_to_the_later_bin_and_late_times_to_the_last():
    target = survival_target(np.array([0.0, 2.0, 1e9]), np.ones(3, bool), np.array([2.0, 5.0]))
    assert target.bins.tolist() == [0, 1, 2]


@pytest.mark.parametrize("bins", [1, 5])
def test_bins_that_would_have_no_event_are_refused(bins):
    times = np.array([1.0, 1.0, 1.0, 2.0, 3.0])
    with pytest.raises(TrainingError, match="3 distinct"):
        time_bin_edges(times, np.ones(5, bool), bins=bins)


def test_no_observed_event_is_refused():
    with pytest.raises(TrainingError, match="0 observed events"):
        time_bin_edges(TIMES, np.zeros(10, bool), bins=2)


@pytest.mark.parametrize("time", [-1.0, np.nan, np.inf])
def test_times_that_are_no_durations_are_refused(time):
    with pytest.raises(TrainingError, match="follow-up"):
        survival_target(np.array([time]), np.ones(1, bool), np.array([2.0]))


def test_a_higher_hazard_is_a_higher_risk():
    low, high = survival_risk(torch.tensor([[-1.0, 0.0], [-0.5, 0.0]]))
    assert low < high


def test_a_target_is_taken_by_positions():
    target = survival_target(TIMES, EVENTS, np.array([4.0]))[torch.tensor([8, 0])]
    assert (len(target), target.times.tolist(), target.events.tolist()) == (2, [100.0, 1.0], [False, True])


def test_a_bin_between_events_far_apart_is_refused():
    with pytest.raises(TrainingError, match="2 distinct"):
        time_bin_edges(np.array([1.0, 10.0]), np.ones(2, bool), bins=4)
    assert time_bin_edges(np.array([1.0, 10.0]), np.ones(2, bool), bins=2).tolist() == [5.5]


@pytest.mark.parametrize(
    ("times", "events", "problem"),
    [([1.0, np.nan, 3.0], [1, 1, 1], "not finite"), ([1.0, 2.0, 3.0], [1, 1], "2 events"), ([[1.0]], [[1]], "axis")],
)
def test_times_and_events_that_do_not_fit_are_refused(times, events, problem):
    times, events = np.array(times), np.array(events, bool)
    with pytest.raises(TrainingError, match=problem):
        time_bin_edges(times, events, bins=2)
    with pytest.raises(TrainingError, match=problem):
        survival_target(times, events, np.array([2.0]))


def test_edges_that_do_not_rise_are_refused():
    with pytest.raises(TrainingError, match="edges"):
        survival_target(TIMES, EVENTS, np.array([2.0, 1.0, 3.0]))
