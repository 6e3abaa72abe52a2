"""Batch normalisation equals torch's, and also takes what torch's refuses: no rows, and a single one in training."""

import pytest
import torch
from torch import Tensor, nn

from onepath.merging.presets.batch_norm import BatchNorm


def trained(affine: bool) -> tuple[BatchNorm, nn.BatchNorm1d, Tensor]:
    """Return ours and torch's after the same rows, and what torch's gave for them in training."""
    torch.manual_seed(0)
    ours, theirs = (kind(5, affine=affine, eps=1e-3).double() for kind in (BatchNorm, nn.BatchNorm1d))
    for parameter, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        other.data.copy_(parameter.data.normal_())
    rows = torch.randn(40, 5, dtype=torch.float64) * 3 + 2
    torch.testing.assert_close(ours(rows), theirs(rows), rtol=1e-12, atol=1e-12)
    return ours, theirs, rows


@pytest.mark.parametrize("affine", [True, False])
@torch.no_grad()
def test_it_gives_what_torchs_gives_in_evaluation(affine) -> None:
    ours, theirs, rows = trained(affine)
    expected = theirs.eval()(rows)
    torch.testing.assert_close(ours.eval()(rows), expected, rtol=1e-12, atol=1e-12)
    ours.statistics.eps = 1e-1
    assert (ours(rows) - expected).abs().max() > 1e-6


@pytest.mark.parametrize("affine", [True, False])
def test_a_single_row_of_training_is_normalised_by_what_was_kept_and_changes_none_of_it(affine) -> None:
    ours, theirs, rows = trained(affine)
    kept = ours.statistics.running_mean.clone()
    torch.testing.assert_close(ours.train()(rows[:1]), theirs.eval()(rows[:1]), rtol=1e-12, atol=1e-12)
    assert torch.equal(ours.statistics.running_mean, kept)
    ours(rows[:2])
    assert not torch.equal(ours.statistics.running_mean, kept)


@pytest.mark.parametrize("training", [True, False])
def test_no_rows_give_no_rows(training) -> None:
    assert BatchNorm(5).train(training)(torch.zeros(0, 5)).shape == (0, 5)
