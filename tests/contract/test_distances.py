"""Several outputs are as far apart as the worst of them; what cannot be compared is infinitely far."""

import numpy as np
import pytest

from onepath.contract.distances import distance, distance_of_outputs

SCORES = np.array([[3.0, 4.0], [0.0, 8.0]])
STATUS = np.array([[0], [1]], np.uint8)
INFINITE = float("inf")


def moved(by):
    return {"scores": SCORES + by, "status": STATUS}


@pytest.mark.parametrize(("metric", "expected"), [("max_abs", 0.5), ("max_relative", 0.5 / 8), ("mean_abs", 0.5)])
def test_the_worst_output_decides(metric, expected):
    assert distance_of_outputs(moved(0), moved(0.5), metric) == expected
    assert distance_of_outputs(moved(0), moved(0), metric) == 0


def test_an_output_of_another_type_is_compared_as_numbers():
    assert distance_of_outputs({"status": STATUS}, {"status": STATUS + 2}, "max_abs") == 2


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"scores": SCORES},
        {"status": STATUS, "scores": SCORES},
        {"scores": SCORES, "row_status": STATUS},
        {"scores": SCORES[:1], "status": STATUS},
        {"scores": SCORES.ravel(), "status": STATUS},
        {"scores": np.full((2, 2), np.nan), "status": STATUS},
        {"scores": np.array([[3.0, 4.0], [0.0, np.inf]]), "status": STATUS},
    ],
    ids=["none", "missing", "order", "names", "rows", "axes", "NaN", "infinity"],
)
def test_outputs_that_cannot_be_compared_are_infinitely_far(other):
    assert distance_of_outputs(moved(0), other, "max_abs") == INFINITE


def test_equal_infinities_prove_nothing():
    endless = {"scores": np.array([[np.inf, 1.0]])}
    assert distance_of_outputs(endless, endless, "max_abs") == INFINITE
    assert distance_of_outputs(endless, {"scores": -endless["scores"]}, "max_relative") == INFINITE


@pytest.mark.parametrize("outputs", [{}, {"scores": np.zeros((0, 3))}])
def test_nothing_is_infinitely_far_from_itself(outputs):
    assert distance_of_outputs(outputs, outputs, "max_abs") == INFINITE


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_outputs_of_any_number_of_axes_are_compared(shape):
    zeros, one = np.zeros(shape), np.zeros(shape)
    one.flat[-1] = 0.25
    assert distance(zeros, one, "max_abs") == 0.25
