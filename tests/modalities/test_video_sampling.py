"""Which frames a model sees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onepath.modalities.video_sampling import chosen_frames


def centre(available, wanted=16, stride=4, short="repeat"):
    return chosen_frames(available, wanted, sampling="centre", stride=stride, short=short)


def uniform(available, wanted):
    return chosen_frames(available, wanted, sampling="uniform", stride=4, short="repeat")


def published(available, wanted, stride):
    """Return what the published evaluation does with the window in the middle."""
    start = (available - wanted * stride) // 2
    end = start + wanted * stride
    return np.clip(np.linspace(start, end, wanted), start, end - 1).astype(int).tolist()


@pytest.mark.parametrize("available", [64, 65, 100, 300])
@pytest.mark.parametrize(("wanted", "stride"), [(16, 4), (8, 8), (4, 2), (2, 1), (8, 1)])
def test_a_centre_window_is_the_published_one(available, wanted, stride):
    assert centre(available, wanted, stride) == published(available, wanted, stride)


def test_a_window_that_is_not_in_the_centre_would_be_seen():
    assert centre(100) != published(101 + 1, 16, 4)


def test_one_frame_is_the_middle_one():
    assert centre(101, wanted=1, stride=1) == [50]


def test_a_short_clip_repeats_its_last_frame():
    assert centre(10, wanted=4) == [0, 4, 8, 9]
    assert centre(5, wanted=4) == [0, 4, 4, 4]


def test_a_short_clip_can_be_stretched():
    assert centre(2, wanted=4, short="stretch") == [0, 0, 1, 1]


def test_a_clip_as_long_as_the_window_is_not_short():
    assert centre(16, wanted=4) == centre(16, wanted=4, short="stretch") == [0, 5, 10, 15]


def test_uniform_frames_are_the_middles_of_equal_parts():
    assert uniform(12, 3) == [2, 6, 10]
    assert uniform(12, 12) == list(range(12))


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 500),
    st.integers(1, 40),
    st.integers(1, 9),
    st.sampled_from(["centre", "uniform"]),
    st.sampled_from(["repeat", "stretch"]),
)
def test_indices_are_in_order_and_in_the_clip(available, wanted, stride, sampling, short):
    made = chosen_frames(available, wanted, sampling=sampling, stride=stride, short=short)
    assert len(made) == wanted
    assert made == sorted(made)
    assert 0 <= made[0] <= made[-1] < available
