import pytest

from onepath.tuning.choice import choose, fastest, verdicts
from onepath.tuning.comparing import summaries
from onepath.tuning.settings import Goal
from tests.tuning.measured import DEFAULT, INT8, entries

NOISE = 0.03
TWO_THREADS = DEFAULT.changed(graph_instances=1, intra_op_threads=2)
ONE_PROCESS = DEFAULT.changed(preprocess_instances=1)
WAITING = DEFAULT.changed(max_queue_delay_us=500, preferred_batch_sizes=(4,))
WAITING_INT8 = WAITING.changed(precision="int8")
EIGHT_ROWS = DEFAULT.model_copy(update={"rows": 8})


def found(*measured):
    return list(summaries(entries(*measured), DEFAULT).values())


def chosen(*measured, noise=NOISE, **goal):
    best = choose(found(*measured), DEFAULT, Goal(**goal), noise)
    return best and best.candidate


def verdict(*measured, noise=NOISE, **goal):
    (one,) = verdicts(found(*measured), DEFAULT, Goal(**goal), noise)
    return one


class TestTheChoice:
    def test_has_the_highest_throughput_within_the_bound(self):
        measured = (DEFAULT, 100, 40), (TWO_THREADS, 150, 49), (WAITING, 300, 51)
        assert chosen(*measured, latency_ms=50) == TWO_THREADS
        assert chosen(*measured, latency_ms=52) == WAITING

    def test_is_bound_by_the_percentile_that_was_asked_for(self):
        measured = (DEFAULT, 100, 10), (TWO_THREADS, 150, 40)
        assert chosen(*measured, latency_ms=50, percentile="p95") == TWO_THREADS
        assert chosen(*measured, latency_ms=50, percentile="p99") == DEFAULT

    def test_has_the_lowest_latency_above_the_floor_of_throughput(self):
        measured = (DEFAULT, 100, 10), (TWO_THREADS, 80, 5), (WAITING, 300, 20)
        assert chosen(*measured, objective="latency") == TWO_THREADS
        assert chosen(*measured, objective="latency", min_rows_per_s=90) == DEFAULT

    def test_is_the_default_where_another_is_better_by_no_more_than_noise(self):
        assert chosen((DEFAULT, 100), (TWO_THREADS, 103)) == DEFAULT
        assert chosen((DEFAULT, 100), (TWO_THREADS, 104)) == TWO_THREADS
        assert chosen((DEFAULT, 100), (TWO_THREADS, 104), noise=0.1) == DEFAULT

    def test_of_candidates_that_tie_differs_least_from_the_default(self):
        assert chosen((DEFAULT, 100), (TWO_THREADS, 202), (ONE_PROCESS, 200)) == ONE_PROCESS

    def test_is_not_one_that_another_tie_outdoes_in_latency_too(self):
        measured = (DEFAULT, 100, 15), (ONE_PROCESS, 200, 14), (TWO_THREADS, 202, 11)
        assert chosen(*measured) == TWO_THREADS
        assert chosen(*measured, noise=0.15) == ONE_PROCESS

    def test_is_the_plainer_tie_where_each_is_the_better_in_something(self):
        assert chosen((DEFAULT, 100, 15), (ONE_PROCESS, 202, 14), (TWO_THREADS, 200, 11)) == ONE_PROCESS

    def test_stays_in_float32_where_another_precision_ties(self):
        assert chosen((DEFAULT, 100), (WAITING, 200), (WAITING_INT8, 204)) == WAITING
        assert chosen((DEFAULT, 100), (WAITING, 200), (WAITING_INT8, 208)) == WAITING_INT8

    def test_is_not_one_of_another_number_of_rows_a_request(self):
        assert chosen((DEFAULT, 100), (EIGHT_ROWS, 500)) == DEFAULT

    def test_is_not_one_that_failed(self):
        assert chosen((DEFAULT, 100), (TWO_THREADS,)) == DEFAULT

    def test_is_none_where_all_are_over_the_bound_and_the_fastest_can_be_shown(self):
        measured = (DEFAULT, 100, 70), (TWO_THREADS, 50, 60), (EIGHT_ROWS, 900, 55)
        assert chosen(*measured, latency_ms=50) is None
        assert fastest(found(*measured), DEFAULT, Goal()).candidate == TWO_THREADS

    def test_of_nothing_that_ran_is_none(self):
        assert chosen((DEFAULT,)) is None
        assert fastest(found((DEFAULT,)), DEFAULT, Goal()) is None


class TestAPrecision:
    @pytest.mark.parametrize(("speed", "result"), [(96, "loses"), (98, "ties"), (102, "ties"), (104, "wins")])
    def test_wins_or_loses_by_more_than_noise(self, speed, result):
        assert verdict((DEFAULT, 100), (INT8, speed)).result == result

    def test_that_loses_is_not_chosen_even_with_settings_that_float32_was_not_measured_with(self):
        measured = (DEFAULT, 100), (INT8, 80), (WAITING_INT8, 150)
        assert chosen(*measured) == DEFAULT
        assert chosen((DEFAULT, 100), (INT8, 120), (WAITING_INT8, 150)) == WAITING_INT8

    def test_is_judged_by_the_settings_with_which_it_did_best(self):
        judged = verdict((DEFAULT, 100), (INT8, 80), (WAITING, 100), (WAITING_INT8, 150))
        assert (judged.ratio, judged.result) == (1.5, "wins")
        assert judged.settings == "int8 2×1, wait 500 µs for 4 rows"

    def test_is_compared_by_latency_where_latency_is_the_objective(self):
        assert verdict((DEFAULT, 100, 10), (INT8, 100, 8), objective="latency").ratio == pytest.approx(1.25)

    def test_that_was_measured_with_no_settings_of_float32_has_no_verdict(self):
        assert verdicts(found((DEFAULT, 100), (WAITING_INT8, 150)), DEFAULT, Goal(), NOISE) == ()
