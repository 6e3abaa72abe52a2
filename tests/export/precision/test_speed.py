"""Paired timings: where they are taken, the interval of a median, and what counts as faster."""

import time

import numpy as np
import pytest
from scipy import stats

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.precision.attempts import Attempt, best_of
from onepath.export.precision.forms import Form
from onepath.export.precision.sessions import is_at_hand, run_from_graph
from onepath.export.precision.speed import Speed, SpeedUp, measured_speeds, median_interval
from tests.export.precision import models


@pytest.mark.parametrize("count", [6, 9, 15, 41])
def test_a_medians_interval_is_that_of_the_sign_test(count):
    values = np.random.default_rng(count).normal(size=count).tolist()
    expected = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    assert median_interval(values) == (expected.low, expected.high)


def spent(seconds):
    """What keeps the processor busy for a while."""

    def run(batch):
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass
        return {}

    return run


def test_a_graph_that_takes_half_the_time_is_twice_as_fast():
    batch = models.source(1).mixed(1)
    runs = {"fast": spent(0.001), "slow": spent(0.004)}
    speeds = measured_speeds(spent(0.002), runs, {1: batch}, machine="cpu")
    assert speeds["fast"].gain == pytest.approx(2.0, rel=0.1)
    assert speeds["slow"].gain == pytest.approx(0.5, rel=0.1)
    assert speeds["fast"].pays
    assert not speeds["slow"].pays


def speed(*ups):
    return Speed(tuple(SpeedUp(rows, ratio, interval) for rows, ratio, interval in ups))


@pytest.mark.parametrize(
    ("ups", "pays"),
    [
        ([(1, 2.0, (1.9, 2.1)), (8, 3.0, (2.9, 3.1))], True),
        ([(1, 1.0, (0.9, 1.1)), (8, 1.2, (1.1, 1.3))], True),  # no loss at one, a gain at the other
        ([(1, 0.98, (0.9, 1.1)), (8, 1.1, (1.05, 1.15))], False),  # 1.04 in all: resolved, and not worth it
        ([(1, 1.0, (0.9, 1.1)), (8, 1.0, (0.9, 1.1))], False),  # nothing resolved
        ([(1, 0.8, (0.7, 0.9)), (8, 1.2, (1.1, 1.3))], False),  # a trade
        ([(1, 0.8, (0.7, 0.9)), (8, 0.9, (0.8, 0.95))], False),
    ],
)
def test_a_precision_pays_with_a_gain_at_one_size_and_a_loss_at_none(ups, pays):
    assert speed(*ups).pays == pays


@pytest.mark.parametrize(
    ("ups", "told"),
    [
        ([(1, 1.5, (1.4, 1.6)), (8, 0.9, (0.8, 0.95))], "is slower than float32 at batch 8 here (1.50 × at batch 1, "),
        ([(1, 1.2, (0.9, 1.3)), (8, 1.2, (0.9, 1.3))], "is not measurably faster than float32 here (1.20 × "),
        ([(1, 1.02, (1.01, 1.03))], "is not 1.05 × as fast as float32 here (1.02 × at batch 1)"),
        ([(1, 1.2, (1.1, 1.3))], ""),
    ],
)
def test_why_a_precision_does_not_pay_is_told_by_what_was_measured(ups, told):
    found = speed(*ups).problem
    assert found.startswith(told)
    assert bool(found) is bool(told)


def attempt(ranges, gain, problem=""):
    sure = (gain * 0.99, gain * 1.01)
    return Attempt(Form(ranges), problem=problem, speed=speed((1, gain, sure)))


@pytest.mark.parametrize(
    ("dynamic", "static", "kept"),
    [
        (2.0, 1.5, "dynamic"),
        (1.5, 2.0, "static"),
        (1.64, 1.5, "static"),
        (1.66, 1.5, "dynamic"),
        (1.2, 0.9, "dynamic"),
        (0.9, 0.89, "static"),
    ],
)
def test_the_faster_form_is_kept_and_the_static_one_where_they_are_even(dynamic, static, kept):
    assert best_of([attempt("dynamic", dynamic), attempt("static", static)]).form.ranges == kept


def test_a_form_that_fails_its_gate_is_never_kept():
    assert best_of([attempt("dynamic", 3.0, "it is wrong"), attempt("static", 0.5)]).form.ranges == "static"
    assert best_of([attempt("dynamic", 3.0, "it is wrong")]) is None


def test_a_graph_for_a_machine_that_is_not_here_is_not_run_on_another_in_silence(reference):
    assert not is_at_hand("gpu")
    with pytest.raises(UnsupportedModuleError, match="CUDA"):
        run_from_graph(reference.path, "gpu")
