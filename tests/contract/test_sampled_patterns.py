"""Which presence patterns are measured: all of them, or a sample where they are many."""

from collections import Counter
from itertools import chain, combinations

import pytest

from onepath.contract.presence import accepted_patterns, sampled_patterns

SIX = ["image", "audio", "text", "video", "points", "cells"]
NINE = [*SIX, "heat", "sound", "depth"]


def subsets(names):
    return chain.from_iterable(combinations(names, size) for size in range(len(names) + 1))


def test_up_to_six_modalities_all_patterns_are_there():
    assert sampled_patterns(SIX) == [subset for subset in subsets(SIX) if subset]


def test_every_pattern_holds_what_is_required():
    assert sampled_patterns(["a", "b", "c"], required=["b"]) == [("b",), ("a", "b"), ("b", "c"), ("a", "b", "c")]


@pytest.mark.parametrize("required", [[], ["text"], ["image", "cells"]])
def test_the_number_of_patterns_is_that_of_subsets(required):
    counted = sum({*required} <= {*subset} for subset in subsets(SIX) if subset)
    assert accepted_patterns(SIX, required) == counted


def test_a_sample_is_bounded_and_names_no_pattern_twice():
    sample = sampled_patterns(NINE, seed=3)
    assert len(sample) == len({*sample}) == 64


def test_a_sample_holds_each_one_all_but_one_and_all():
    sample = {*sampled_patterns(NINE, seed=3)}
    assert sample >= {(name,) for name in NINE} | {*combinations(NINE, 8)} | {tuple(NINE)}


def test_a_sample_has_as_many_of_each_size_between():
    counts = Counter(len(pattern) for pattern in sampled_patterns(NINE, seed=3))
    between = [counts[size] for size in range(2, 8)]
    assert max(between) - min(between) <= 1


def test_a_size_of_few_patterns_leaves_its_share_to_the_others():
    sample = sampled_patterns(NINE[:7], limit=126)
    assert len(sample) == 126
    assert Counter(map(len, sample))[2] == 21


def test_equal_seeds_give_equal_samples_and_others_do_not():
    assert sampled_patterns(NINE, seed=3) == sampled_patterns(NINE, seed=3)
    assert sampled_patterns(NINE, seed=3) != sampled_patterns(NINE, seed=4)


def test_a_sample_is_in_the_order_of_all_patterns():
    everything = [subset for subset in subsets(NINE) if subset]
    places = [everything.index(pattern) for pattern in sampled_patterns(NINE, seed=3)]
    assert places == sorted(places)


def test_what_must_be_measured_is_in_any_sample():
    wanted = [("audio", "image", "points", "sound"), ("heat", "text", "video"), ("smell",), ()]
    sample = sampled_patterns(NINE, always=wanted, limit=1)
    assert ("image", "audio", "points", "sound") in sample
    assert ("text", "video", "heat") in sample
    assert () not in sample
    assert len(sample) == 9 + 9 + 1 + 2


def test_a_sample_with_a_required_modality_begins_with_it_alone():
    sample = sampled_patterns(NINE, required=["text"], limit=30)
    assert sample[0] == ("text",)
    assert all("text" in pattern for pattern in sample)
    assert len(sample) == 30


def test_forty_modalities_are_sampled_without_listing_all_patterns():
    assert len(sampled_patterns([f"m{index}" for index in range(40)], limit=200)) == 200
