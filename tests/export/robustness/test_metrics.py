"""What is counted of each row, also where an answer is no answer."""

import tracemalloc

import numpy as np
import pytest

from onepath.export.robustness.metrics import Judge, nearest_neighbours

NAN, INF = np.nan, np.inf
SURE = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
BROKEN = np.array([[NAN, 0, 0], [1, 0, 0], [0, INF, 0]], np.float32)


def test_an_answer_that_is_not_finite_is_wrong_although_numpy_takes_it_for_the_highest():
    assert BROKEN.argmax(axis=1).tolist() == [0, 0, 1]
    assert Judge("classification", [0, 0, 1], SURE).figures(SURE).tolist() == [1, 1, 1]
    assert Judge("classification", [0, 0, 1], SURE).figures(BROKEN).tolist() == [0, 1, 0]


@pytest.mark.parametrize("task", ["classification", "embedding"])
def test_an_answer_that_is_not_finite_agrees_with_nothing_on_either_side(task):
    assert Judge(task, [], SURE).agreement(BROKEN).tolist() == [0, 1, 0]
    assert Judge(task, [], BROKEN).agreement(SURE).tolist() == [0, 1, 0]
    assert Judge(task, [], SURE).agreement(SURE).tolist() == [1, 1, 1]


def test_an_embedding_that_is_not_finite_has_no_right_neighbour():
    answer = np.array([[NAN, 0], [1, 0], [1, 0.1], [0, 1]], np.float32)
    assert Judge("embedding", [0, 0, 0, 0], answer).figures(answer).tolist() == [0, 1, 1, 1]


def test_neighbours_of_many_rows_are_those_of_all_cosines_at_once():
    rows = np.random.default_rng(0).normal(size=(1100, 4)).astype(np.float32)
    unit = rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    cosines = unit @ unit.T - 3 * np.eye(len(rows))
    assert nearest_neighbours(rows).tolist() == cosines.argmax(axis=1).tolist()


def test_no_more_than_a_part_of_all_cosines_is_held_at_a_time():
    rows = np.random.default_rng(0).normal(size=(3000, 2)).astype(np.float32)
    tracemalloc.start()
    nearest_neighbours(rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3000 * 3000 * 8 / 2
