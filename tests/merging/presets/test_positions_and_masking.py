"""Position tables against their formulas; masks that leave out what they say, each row by itself."""

import math

import numpy as np
import pytest
import torch

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.presets.masking import GridMasking, ShareMasking, take_tokens
from onepath.merging.presets.positions import (
    grid_positions,
    resized_clip_positions,
    resized_positions,
    sinusoid_positions,
)
from tests.merging.presets.small_presets import small_model, values_of

CPU = torch.device("cpu")


def test_the_sinusoid_table_is_that_of_the_paper() -> None:
    table = sinusoid_positions(50, 6)
    assert table.shape == (50, 6)
    assert table[7, 2] == pytest.approx(math.sin(7 / 10_000 ** (2 / 6)), abs=1e-12)
    assert table[7, 3] == pytest.approx(math.cos(7 / 10_000 ** (2 / 6)), abs=1e-12)


def test_the_sinusoid_table_is_shared_and_cannot_be_changed() -> None:
    table = sinusoid_positions(50, 6)
    assert sinusoid_positions(50, 6) is table
    with pytest.raises(ValueError, match="read-only"):
        table[0, 0] = 1.0


def test_the_grid_table_tells_the_column_then_the_row() -> None:
    table = grid_positions(8, 3, 5)
    token = 2 * 5 + 4  # row 2, column 4
    expected = [math.sin(4), math.sin(4 / 100), math.cos(4), math.cos(4 / 100)]
    expected += [math.sin(2), math.sin(2 / 100), math.cos(2), math.cos(2 / 100)]
    np.testing.assert_allclose(table[token], expected, atol=1e-12)


def test_a_grid_table_of_a_width_that_does_not_divide_is_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match="multiple of 4"):
        grid_positions(6, 2, 2)


def test_a_resized_table_keeps_the_class_token_and_is_bicubic_between_patches() -> None:
    heights = np.random.default_rng(0).normal(size=4)
    plane = torch.from_numpy(heights).repeat_interleave(6).reshape(1, 24, 1)  # the same in all columns
    resized = resized_positions(torch.cat([torch.full_like(plane[:, :1], 9.0), plane], dim=1), (4, 6), (8, 12))
    assert resized.shape == (1, 97, 1)
    assert resized[0, 0, 0] == 9.0
    # Row 3 of 8 lies at 1.25 of 4: Keys' kernel at the distances to rows 0, 1, 2 and 3.
    weights = np.array([_keys(distance) for distance in (1.25, 0.25, 0.75, 1.75)])
    np.testing.assert_allclose(resized[0, 1:, 0].reshape(8, 12)[3], weights @ heights, atol=1e-9)


def _keys(distance: float, a: float = -0.75) -> float:
    if distance <= 1:
        return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    return a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a


def test_a_table_on_its_own_grid_is_as_it_was() -> None:
    table = torch.randn(1, 25, 4)
    assert torch.equal(resized_positions(table, (4, 6), (4, 6)), table)
    clip = torch.randn(1, 12, 4)
    assert torch.equal(resized_clip_positions(clip, (3, 2, 2), (3, 2, 2)), clip)


def test_a_clips_table_is_resized_in_time_and_in_space() -> None:
    times = torch.arange(4.0, dtype=torch.float64).repeat_interleave(6).reshape(1, 24, 1)
    resized = resized_clip_positions(times, (4, 2, 3), (8, 4, 3))
    assert resized.shape == (1, 96, 1)
    expected = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3).repeat(12)
    np.testing.assert_allclose(resized[0, :, 0], expected, atol=1e-9)


def test_a_table_of_another_grid_is_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match=r"not \(1, 25, width\)"):
        resized_positions(torch.zeros(1, 26, 4), (4, 6), (2, 2))


@pytest.mark.parametrize(
    ("masking", "tokens", "kept"),
    [(GridMasking(64, 8), 512, 306), (ShareMasking(196), 196, 49), (ShareMasking(512, 0.8), 512, 102)],
    ids=["AudioMAE's fine-tuning", "MAE", "AudioMAE's pre-training"],
)
def test_as_many_tokens_stay_as_published_each_once(masking, tokens, kept) -> None:
    positions = masking.kept(3, device=CPU, generator=torch.Generator().manual_seed(0))
    assert positions.shape == (3, kept)
    for row in positions:
        assert len(set(row.tolist())) == kept
        assert 0 <= row.min() <= row.max() < tokens
    assert not torch.equal(positions[0], positions[1])


def test_a_grid_mask_leaves_whole_times_and_frequencies() -> None:
    row = GridMasking(64, 8).kept(1, device=CPU)[0]
    times, frequencies = set((row // 8).tolist()), set((row % 8).tolist())
    assert (len(times), len(frequencies)) == (51, 6)
    assert set(row.tolist()) == {8 * time + frequency for time in times for frequency in frequencies}


def test_one_generator_gives_one_mask() -> None:
    first, second, other = (
        ShareMasking(50).kept(2, device=CPU, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_every_token_is_left_out_as_often() -> None:
    kept = ShareMasking(10, 0.5).kept(4000, device=CPU, generator=torch.Generator().manual_seed(0))
    shares = torch.bincount(kept.flatten(), minlength=10) / 4000
    assert (shares - 0.5).abs().max() < 0.04


def test_tokens_are_taken_row_by_row() -> None:
    tokens = torch.arange(12.0).reshape(2, 3, 2)
    taken = take_tokens(tokens, torch.tensor([[0, 2], [1, 2]]))
    assert taken.tolist() == [[[0.0, 1.0], [4.0, 5.0]], [[8.0, 9.0], [10.0, 11.0]]]


@pytest.mark.parametrize("make", [lambda: ShareMasking(10, 1.0), lambda: GridMasking(4, 4, time_share=-0.1)])
def test_a_share_that_leaves_nothing_is_refused(make) -> None:
    with pytest.raises(UnsupportedModuleError, match=r"choose it in \[0, 1\)"):
        make()


@torch.no_grad()
def test_tokens_are_left_out_in_training_only() -> None:
    model, values = small_model("audio"), values_of("audio", 2)
    answered = model(values)
    assert torch.equal(model(values), answered)
    model.train()
    seen = []
    model.blocks[0].register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].shape[1]))
    torch.manual_seed(0)
    assert not torch.allclose(model(values), answered)
    assert seen == [1 + 3 * 2]  # of 4 × 3 patches, and the class token
