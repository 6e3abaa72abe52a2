import numpy as np
import pytest

from onepath.tuning.figures import figures_from_latencies
from onepath.tuning.settings import Goal
from tests.tuning.measured import figures

LATENCIES_S = np.arange(1, 101) / 1000


def test_percentiles_are_those_of_the_requests_in_milliseconds():
    found = figures_from_latencies(LATENCIES_S, rows=1, window_s=2.0, cpu_s=0.0)
    assert (found.p50_ms, found.p95_ms, found.p99_ms) == (50.5, 95.05, 99.01)


def test_throughput_counts_rows_and_not_requests():
    assert figures_from_latencies(LATENCIES_S, rows=3, window_s=2.0, cpu_s=0.0).rows_per_s == 150


def test_cpu_time_is_given_by_row():
    assert figures_from_latencies(LATENCIES_S, rows=2, window_s=2.0, cpu_s=1.0).cpu_ms_per_row == 5


@pytest.mark.parametrize(("percentile", "score"), [("p50", 200), ("p95", 100), ("p99", 1e3 / 15)])
def test_a_lower_latency_of_the_chosen_percentile_scores_higher(percentile, score):
    goal = Goal(objective="latency", percentile=percentile)
    assert figures(80, latency_ms=10).score(goal) == pytest.approx(score)
    assert figures(80, latency_ms=9).score(goal) > score


def test_for_throughput_latency_does_not_count():
    assert figures(80, latency_ms=10).score(Goal()) == figures(80, latency_ms=99).score(Goal()) == 80
