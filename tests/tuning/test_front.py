import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onepath.tuning.front import front_from_points

POINTS = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=12)


def test_the_front_is_sorted_by_latency():
    assert front_from_points([(30, 300), (10, 100), (20, 200)]) == [1, 2, 0]


def test_a_dominated_point_is_not_on_it():
    assert front_from_points([(10, 100), (20, 90), (30, 300)]) == [0, 2]


def test_a_point_that_is_as_good_in_one_and_worse_in_the_other_is_dominated():
    assert front_from_points([(10, 100), (10, 90), (20, 100)]) == [0]


def test_equal_points_are_both_on_it():
    assert front_from_points([(10, 100), (10, 100)]) == [0, 1]


def test_of_no_points_nothing_is():
    assert front_from_points([]) == []


@given(POINTS)
def test_a_point_is_on_it_exactly_if_no_other_is_better(points):
    table = np.array(points).reshape(-1, 2) * (1, -1)  # less is better in both columns
    better = (table[:, None] <= table).all(2) & (table[:, None] < table).any(2)  # of row over column
    assert sorted(front_from_points(points)) == np.flatnonzero(~better.any(0)).tolist()
