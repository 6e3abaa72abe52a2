import itertools
import math

import pytest

from onepath.tuning.candidates import Space
from onepath.tuning.choice import choose
from onepath.tuning.comparing import noise, summaries
from onepath.tuning.settings import Goal
from onepath.tuning.strategy import default_is_due, default_is_due_at_the_end, next_candidate
from tests.tuning.measured import DEFAULT, INT8, entries, entry

SPACE = Space(
    default=DEFAULT,
    graphs=(("fp32", "never"), ("int8", "never"), ("fp16", "never")),
    layouts=((2, 1), (1, 2), (1, 1)),
    batchings=((500, (4,)), (2000, (4,)), (500, ()), (2000, ())),
    preprocess=(1, 4),
    rows=(4, 8),
)
GOAL = Goal()
FP16 = DEFAULT.changed(precision="fp16")
BEST = DEFAULT.changed(
    precision="int8",
    graph_instances=1,
    intra_op_threads=2,
    allow_spinning=True,
    max_queue_delay_us=500,
    preferred_batch_sizes=(4,),
    preprocess_instances=4,
)
GAINS = {
    ("precision", "int8"): 2.0,
    ("intra_op_threads", 2): 1.3,
    ("allow_spinning", True): 1.2,
    ("max_queue_delay_us", 500): 1.4,
    ("preferred_batch_sizes", (4,)): 1.1,
    ("preprocess_instances", 4): 1.25,
}


def speed(candidate):
    """Return rows a second on a machine where each setting is worth a factor of its own; fp16 does not run there."""
    if candidate.settings.precision == "fp16":
        return None
    return 100 * candidate.rows * math.prod(GAINS.get(setting, 1.0) for setting in candidate.settings)


def run(space=SPACE, goal=GOAL, measured=(), speed=speed):
    """Return what is measured until nothing is left, one measurement a second."""
    measured = list(measured)
    while (candidate := next_candidate(space, measured, goal)) is not None:
        measured.append(entry(candidate, speed(candidate), at_s=float(len(measured))))
        assert len(measured) < 200
    return measured


def chosen(measured, goal=GOAL):
    found = list(summaries(measured, DEFAULT).values())
    return choose(found, DEFAULT, goal, noise(measured, DEFAULT, goal)).candidate


def test_the_default_comes_first_then_the_precisions_then_the_layouts():
    order = [each.candidate for each in run()]
    fastest = INT8.changed(graph_instances=1, intra_op_threads=2)
    assert order[:5] == [DEFAULT, INT8, FP16, fastest, INT8.changed(graph_instances=1)]


def test_it_finds_the_best_where_each_setting_has_an_effect_of_its_own():
    every = itertools.product(SPACE.graphs, SPACE.layouts, [(0, ()), *SPACE.batchings], [2, *SPACE.preprocess], [0, 1])
    measured = run()
    assert chosen(measured) == BEST
    assert len({each.candidate for each in measured}) < len(list(every)) / 10


def test_every_axis_is_tried_around_the_best_of_the_ones_before():
    waiting = {each.candidate for each in run() if each.candidate.settings.max_queue_delay_us}
    assert {(each.settings.graph_instances, each.settings.intra_op_threads) for each in waiting} == {(1, 2)}
    assert {each for each in waiting if each.settings.precision != "int8"} == {BEST.changed(precision="fp32")}


def test_a_graph_that_did_not_run_is_not_tried_with_other_settings():
    assert [each.candidate for each in run() if each.candidate.settings.precision == "fp16"] == [FP16]


def test_float32_is_measured_with_the_settings_that_were_found_for_another_precision():
    assert BEST.changed(precision="fp32") in {each.candidate for each in run()}


def test_the_best_are_measured_three_times():
    order = [each.candidate for each in run()]
    assert order.count(BEST) == 3
    assert order.count(FP16) == order.count(DEFAULT) == 1


def test_a_precision_is_judged_by_as_many_runs_as_the_best_have_also_where_it_is_not_among_them():
    def losing(candidate):
        found = speed(candidate)
        return found and found * (0.2 if candidate.settings.precision == "int8" else 1)

    for speeds in (losing, speed):
        order = [each.candidate for each in run(speed=speeds)]
        assert [order.count(each) for each in (BEST, BEST.changed(precision="fp32"), INT8, FP16)] == [3, 3, 1, 1]


def test_other_numbers_of_rows_come_last_with_the_chosen_settings():
    assert [each.candidate for each in run()][-2:] == [BEST.model_copy(update={"rows": rows}) for rows in (4, 8)]


def test_spinning_is_tried_with_the_best_of_several_threads_where_one_thread_is_best():
    def one_thread_is_best(candidate):
        return speed(candidate) / (2 if candidate.settings.intra_op_threads == 2 else 1) if speed(candidate) else None

    spinning = [each.candidate for each in run(speed=one_thread_is_best) if each.candidate.settings.allow_spinning]
    assert spinning == [INT8.changed(graph_instances=1, intra_op_threads=2, allow_spinning=True)]


@pytest.mark.parametrize("stop", range(1, 12))
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(stop):
    whole = run()
    assert [each.candidate for each in run(measured=whole[:stop])] == [each.candidate for each in whole]


def test_measuring_the_default_in_between_changes_nothing_of_the_order():
    order, plain = [], [each.candidate for each in run()]
    measured = []
    while (candidate := next_candidate(SPACE, measured, GOAL)) is not None:
        if len(measured) % 4 == 0:
            measured.append(entry(DEFAULT, speed(DEFAULT), at_s=float(len(measured))))
        if candidate != DEFAULT:
            measured.append(entry(candidate, speed(candidate), at_s=float(len(measured))))
            order.append(candidate)
    assert order == [candidate for candidate in plain if candidate != DEFAULT]


def test_where_nothing_keeps_the_bound_it_looks_for_what_is_fast():
    goal = Goal(latency_ms=1)
    measured = run(goal=goal)
    assert INT8 in {each.candidate for each in measured}
    assert all(each.candidate.rows == 1 for each in measured)


def test_where_not_even_the_default_runs_it_ends():
    assert len(run(speed=lambda candidate: None)) <= 20


@pytest.mark.parametrize(
    ("measured", "due"),
    [
        ([], True),
        ([(DEFAULT, 100)], False),
        ([(DEFAULT, 100), (INT8, 100), (FP16,)], False),
        ([(DEFAULT, 100), (INT8, 100), (FP16,), (INT8, 100)], True),
        ([(DEFAULT, 100), (INT8, 100), (FP16,), (INT8, 100), (DEFAULT, 100)], False),
        ([(DEFAULT,), (INT8, 100), (FP16,), (INT8, 100)], False),
    ],
)
def test_the_default_is_due_after_three_others_unless_it_fails(measured, due):
    assert default_is_due(entries(*measured), DEFAULT, now_s=10.0) is due


def test_the_default_is_due_when_its_last_run_is_long_past():
    assert default_is_due(entries((DEFAULT, 100)), DEFAULT, now_s=119.0) is False
    assert default_is_due(entries((DEFAULT, 100)), DEFAULT, now_s=121.0) is True


@pytest.mark.parametrize(
    ("measured", "due"),
    [
        ([], False),
        ([(DEFAULT, 100)], False),
        ([(DEFAULT, 100), (INT8, 178)], True),
        ([(DEFAULT, 100), (INT8, 178), (DEFAULT, 170)], False),
        ([(DEFAULT, 100), (INT8,)], False),
        ([(DEFAULT,), (INT8, 178)], False),
    ],
)
def test_nothing_is_compared_with_a_default_that_ran_once_of_which_no_noise_is_known(measured, due):
    assert default_is_due_at_the_end(entries(*measured), DEFAULT) is due
