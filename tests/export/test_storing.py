"""Comparisons are kept once each, in as few bytes as may be, and no more of them than fit."""

import numpy as np
import pytest

from onepath.contract.comparisons import Comparisons
from onepath.contract.drawn_rows import drawn_like
from onepath.contract.tensors import TensorSpec
from onepath.export.proofs import Batch, Seen
from onepath.export.proving.storing import stored_comparisons

SPECS = [TensorSpec(name="x", dtype="float32", shape=(400,))]
GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.normal(size=(6, 400)).astype(np.float32)
SCORES = GENERATOR.normal(size=(6, 2))
"""What cannot be compressed: 1.6 kB a row."""


def batch(*rows, title="some rows"):
    return Batch(title, {"x": ROWS[list(rows)]}, {"x": np.ones((len(rows), 1), np.uint8)})


def seen(*rows, title="some rows", off=0.0):
    scores = SCORES[list(rows)]
    return Seen(batch(*rows, title=title), {"scores": scores}, {"scores": scores + off})


def stored(*steps, last="onnx", **options):
    found = stored_comparisons(batch(0, 1), steps, last=last, **options)
    return Comparisons.model_validate_json(found.model_dump_json())


def feeds(kept, number):
    return kept.feeds(number, SPECS, {"x": ROWS[:2]}, most_rows=6)


def test_rows_come_back_as_they_were_whether_they_are_probes_or_not():
    kept = stored(("onnx", [seen(0, 3, 1, 3), seen(4, 3, title="others")]))
    assert np.array_equal(feeds(kept, 0)["x"], ROWS[[0, 3, 1, 3]])
    assert np.array_equal(feeds(kept, 1)["x"], ROWS[[4, 3]])
    assert feeds(kept, 0)["x_state"].tolist() == [[1]] * 4


def test_only_rows_that_no_probe_is_are_stored_and_each_once():
    kept = stored(("onnx", [seen(0, 1, title="a"), seen(0, 3, 3, title="b"), seen(3, 1, title="c")]))
    assert len(kept.values["x"]) == 1


def test_answers_come_back_exactly():
    kept = stored(("collapse", [seen(0, 3, off=0.25)]))
    (comparison,) = kept.compared
    assert np.array_equal(kept.outputs(comparison.expected)["scores"], SCORES[[0, 3]])
    assert np.array_equal(kept.outputs(comparison.found)["scores"], SCORES[[0, 3]] + 0.25)


def test_what_the_bundles_own_graph_answers_is_not_stored():
    kept = stored(("onnx", [seen(0)]), ("fold", [seen(0)]), last="fold")
    assert [comparison.found is None for comparison in kept.compared] == [False, True]


def test_comparisons_of_the_same_rows_share_a_batch_and_equal_answers_an_array():
    kept = stored(("onnx", [seen(0, 3)]), ("fold", [seen(0, 3, title="the same rows")]), last="fold")
    assert (len(kept.batches), len(kept.arrays), len(kept.compared)) == (1, 1, 2)


def test_random_rows_are_stored_as_their_seed():
    drawn, values = drawn_like({"x": ROWS}, 4, 9)
    random = Batch("4 random rows", values, {"x": np.ones((4, 1), np.uint8)}, drawn)
    kept = stored(("onnx", [Seen(random, {"scores": SCORES[:4]}, {"scores": SCORES[:4]})]))
    assert kept.values["x"] == ()
    assert np.array_equal(feeds(kept, 0)["x"], values["x"])


@pytest.mark.parametrize(("most_bytes", "titles"), [(100_000, ["a", "b", "c"]), (1000, ["a", "c"]), (0, [])])
def test_a_comparison_that_does_not_fit_is_left_out_and_smaller_ones_after_it_are_not(most_bytes, titles):
    steps = ("onnx", [seen(0, title="a"), seen(2, 3, title="b"), seen(1, 0, title="c")])
    kept = stored(steps, most_bytes=most_bytes)
    assert [comparison.inputs for comparison in kept.compared] == titles
    assert sum(map(len, kept.values["x"])) + sum(len(array.data) for array in kept.arrays) <= most_bytes
