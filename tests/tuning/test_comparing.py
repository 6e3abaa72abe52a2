import pytest

from onepath.tuning.comparing import SMALLEST_NOISE, noise, summaries
from onepath.tuning.settings import Goal
from tests.tuning.measured import DEFAULT, INT8, entries, entry

THROUGHPUT, LATENCY = Goal(), Goal(objective="latency")


def test_on_a_machine_that_does_not_drift_figures_are_as_measured():
    found = summaries(entries((DEFAULT, 100, 10), (INT8, 150, 8), (DEFAULT, 100, 10)), DEFAULT)
    assert found[INT8].figures.rows_per_s == 150
    assert found[INT8].figures.p95_ms == 8
    assert found[INT8].ratio == 1.5


def test_a_machine_that_became_half_as_fast_changes_no_ratio():
    steady = entries((DEFAULT, 100, 10), (DEFAULT, 100, 10), (INT8, 150, 8))
    slowed = entries((DEFAULT, 100, 10), (DEFAULT, 50, 20), (INT8, 75, 16))
    assert summaries(slowed, DEFAULT)[INT8].ratio == summaries(steady, DEFAULT)[INT8].ratio == 1.5


def test_the_default_that_is_nearest_in_time_counts():
    measured = [entry(DEFAULT, 100, at_s=0), entry(INT8, 120, at_s=90), entry(DEFAULT, 60, at_s=100)]
    assert summaries(measured, DEFAULT)[INT8].ratio == 2.0


def test_of_several_runs_the_median_ratio_counts():
    found = summaries(entries((DEFAULT, 100), (INT8, 110), (INT8, 900), (INT8, 120)), DEFAULT)
    assert (found[INT8].ratio, found[INT8].runs) == (1.2, 3)


def test_the_default_has_a_ratio_of_one_and_its_median_figures():
    found = summaries(entries((DEFAULT, 90), (DEFAULT, 100), (DEFAULT, 200)), DEFAULT)
    assert (found[DEFAULT].ratio, found[DEFAULT].figures.rows_per_s) == (1.0, 100)


def test_a_candidate_of_which_one_run_failed_has_no_figures():
    found = summaries(entries((DEFAULT, 100), (INT8, 110), (INT8,)), DEFAULT)
    assert (found[INT8].figures, found[INT8].failure) == (None, "it did not start")


def test_where_the_default_failed_figures_are_as_measured_and_without_a_ratio():
    found = summaries(entries((DEFAULT,), (INT8, 110)), DEFAULT)
    assert (found[INT8].figures.rows_per_s, found[INT8].ratio) == (110, None)


def defaults(*speeds):
    """Return runs of the default, with another candidate in between that does not count."""
    first, *others = ((DEFAULT, speed, 1000 / speed) for speed in speeds)
    return entries(first, (INT8, 500, 1), *others)


@pytest.mark.parametrize("goal", [THROUGHPUT, LATENCY])
def test_noise_is_what_three_of_four_changes_of_the_default_from_run_to_run_stay_within(goal):
    assert noise(defaults(100, 120, 100, 120, 360, 300), DEFAULT, goal) == pytest.approx(0.2)
    assert noise(defaults(100, 120, 100, 150, 100), DEFAULT, goal) == pytest.approx(0.5)
    assert noise(defaults(100, 178), DEFAULT, goal) == pytest.approx(0.78)


@pytest.mark.parametrize("speeds", [(), (100,), (100, 101, 100)])
def test_noise_is_never_taken_to_be_less_than_three_percent(speeds):
    assert noise(entries(*((DEFAULT, speed) for speed in speeds)), DEFAULT, THROUGHPUT) == SMALLEST_NOISE == 0.03
