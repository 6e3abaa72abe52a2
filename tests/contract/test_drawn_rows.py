"""Random rows are drawn again from their seed alone, and only the same ones are taken."""

import numpy as np
import pytest

from onepath.contract.drawn_rows import DrawnRows, Span, drawn_again, drawn_like, span_of_values
from onepath.contract.tensors import TensorSpec

SAMPLE = {
    "word": np.array([[3, 90, 7], [12, 3, 50]], np.int32),
    "cells": np.array([[0.5, -1.5], [2.5, 0.5]], np.float32),
}
SPECS = [TensorSpec(name=name, dtype=array.dtype.name, shape=array.shape[1:]) for name, array in SAMPLE.items()]


def by_numpy(rows, seed):
    """Return the rows written out: integers of the sample's range, then numbers of its mean and deviation."""
    generator = np.random.default_rng(seed)
    word = generator.integers(3, 90, (rows, 3), endpoint=True).astype(np.int32)
    cells = generator.normal(0.5, np.sqrt(2.0) + 1e-3, (rows, 2)).astype(np.float32)
    return {"word": word, "cells": cells}


def test_rows_are_drawn_in_the_span_of_the_sample_one_modality_after_the_other():
    _, values = drawn_like(SAMPLE, 5, 7)
    assert all(np.array_equal(values[name], array) for name, array in by_numpy(5, 7).items())
    assert not np.array_equal(values["word"], by_numpy(5, 8)["word"])


def test_rows_are_drawn_again_from_what_json_keeps_of_them():
    drawn, values = drawn_like(SAMPLE, 5, 7)
    again = drawn_again(DrawnRows.model_validate_json(drawn.model_dump_json()), SPECS)
    assert all(
        np.array_equal(again[name], array) and again[name].dtype == array.dtype for name, array in values.items()
    )


def test_the_order_in_which_the_spans_are_written_does_not_matter():
    drawn, values = drawn_like(SAMPLE, 5, 7)
    turned = drawn.model_copy(update={"spans": dict(reversed(drawn.spans.items()))})
    assert np.array_equal(drawn_again(turned, SPECS)["word"], values["word"])


@pytest.mark.parametrize("changes", [{"seed": 8}, {"rows": 4}, {"sha256": "0" * 64}])
def test_other_rows_than_those_of_the_digest_are_none(changes):
    drawn, _ = drawn_like(SAMPLE, 5, 7)
    assert drawn_again(drawn.model_copy(update=changes), SPECS) is None


def test_rows_of_other_modalities_are_refused():
    drawn, _ = drawn_like(SAMPLE, 5, 7)
    with pytest.raises(ValueError, match="random rows are of word, cells"):
        drawn_again(drawn, SPECS[:1])


def test_the_span_of_integers_is_their_range_and_of_numbers_their_mean_and_deviation():
    assert span_of_values(SAMPLE["word"]) == Span(low=3, high=90)
    assert span_of_values(SAMPLE["cells"]).high == pytest.approx(np.sqrt(2.0) + 1e-3, rel=1e-7)
