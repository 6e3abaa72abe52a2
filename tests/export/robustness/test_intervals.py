"""95 % confidence intervals, against scipy and against what they promise."""

from math import comb

import numpy as np
import pytest
from scipy import stats

from onepath.export.robustness.intervals import (
    bonett_price,
    difference,
    estimate,
    student,
    student_quantile,
    wilson,
)


@pytest.mark.parametrize(("successes", "rows"), [(0, 1), (1, 1), (3, 10), (80, 100), (599, 599), (512, 1000)])
def test_a_share_has_wilsons_interval(successes, rows):
    oracle = stats.binomtest(successes, rows).proportion_ci(0.95, method="wilson")
    assert wilson(successes, rows) == pytest.approx((oracle.low, oracle.high), abs=1e-12)


def test_the_interval_of_other_methods_is_another():
    exact = stats.binomtest(3, 10).proportion_ci(0.95, method="exact")
    assert wilson(3, 10) != pytest.approx((exact.low, exact.high), abs=1e-2)


def coverage(of_interval, only_first, only_second, rows):
    """The exact probability that the interval of a difference of paired shares holds the true one."""
    neither = 1 - only_first - only_second
    covered = 0.0
    for gained in range(rows + 1):
        for lost in range(rows + 1 - gained):
            low, high = of_interval(gained, lost, rows)
            if low <= only_first - only_second <= high:
                ways = comb(rows, gained) * comb(rows - gained, lost)
                covered += ways * only_first**gained * only_second**lost * neither ** (rows - gained - lost)
    return covered


@pytest.mark.parametrize(("only_first", "only_second"), [(0.1, 0.1), (0.2, 0.05), (0.02, 0.01)])
def test_the_interval_of_paired_shares_holds_the_difference_in_95_of_100_samples_or_more(only_first, only_second):
    assert coverage(bonett_price, only_first, only_second, 60) >= 0.945


def test_an_interval_of_two_thirds_the_width_does_not():
    def narrower(gained, lost, rows):
        low, high = bonett_price(gained, lost, rows)
        return low + (high - low) / 6, high - (high - low) / 6

    assert coverage(narrower, 0.2, 0.05, 60) < 0.9


def test_two_shares_that_never_differ_still_have_an_interval():
    low, high = bonett_price(0, 0, 98)
    assert (low, high) == pytest.approx((-1.959964 * 2**0.5 / 100, 1.959964 * 2**0.5 / 100), abs=1e-6)


@pytest.mark.parametrize("rows", [1, 2, 7, 40])
def test_a_difference_of_shares_lies_within_its_interval_and_that_within_1(rows):
    for gained in range(rows + 1):
        for lost in range(rows + 1 - gained):
            low, high = bonett_price(gained, lost, rows)
            assert -1 <= low <= (gained - lost) / rows <= high <= 1


@pytest.mark.parametrize("freedom", [4, 5, 9, 30, 598])
def test_the_quantile_of_students_t_is_right_to_three_thousandths(freedom):
    assert student_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=3e-3)
    assert student_quantile(freedom) != pytest.approx(stats.t.ppf(0.95, freedom), rel=0.1)


def test_a_mean_has_students_interval():
    cosines = np.array([0.5, 0.55, 0.6, 0.4, 0.52, 0.61, 0.47])
    oracle = stats.t.interval(0.95, 6, loc=cosines.mean(), scale=stats.sem(cosines))
    assert student(cosines, bound=1.0) == pytest.approx(oracle, rel=3e-3)


def test_of_four_rows_nothing_is_known_of_a_mean():
    assert student(np.array([0.5, 0.5, 0.5, 0.5]), bound=1.0) == (-1.0, 1.0)


def test_an_interval_of_cosines_stays_within_1():
    assert student(np.array([1.0, 1.0, 1.0, 1.0, 0.0]), bound=1.0)[1] == 1.0


def test_a_difference_is_taken_row_by_row():
    first, second = np.array([1.0, 1, 1, 0, 0, 0, 1, 1]), np.array([0.0, 1, 1, 0, 0, 1, 0, 1])
    found = difference(first, second, is_share=True)
    assert (found.value, found.low, found.high) == (0.125, *(round(end, 6) for end in bonett_price(2, 1, 8)))


def test_a_paired_difference_of_cosines_ignores_what_both_have():
    shared = np.linspace(-0.9, 0.5, 50)
    found = difference(shared + 0.25, shared, is_share=False)
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)


def test_figures_are_rounded_so_that_reports_do_not_depend_on_the_order_of_sums():
    assert estimate(np.array([1.0, 0.0, 0.0]), is_share=True).value == 0.333333
