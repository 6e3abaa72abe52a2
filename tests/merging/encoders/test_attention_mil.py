"""Attention-MIL: a bag has no order, padding no influence, and a row no neighbours."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse import collapse
from onepath.merging.encoders import AttentionMIL, padded_bags
from onepath.merging.lego import LegoBlock, LegoSettings
from tests.merging.lego.test_onnx import Positional, largest_error

SEEDS = st.integers(0, 2**32 - 1)


def encoder(**form) -> AttentionMIL:
    torch.manual_seed(0)
    sizes = {"hidden": 11, "attention": 6, "feature_dim": 8}
    return AttentionMIL(5, **{**sizes, **form}).double().eval()


def bags(rows: int = 4, instances: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, instances, 5)))


def features_by_hand(model: AttentionMIL, bag: np.ndarray) -> np.ndarray:
    """The features of one bag `(instances, inputs)`, in numpy."""
    weights = {name: value.detach().numpy() for name, value in model.named_parameters()}

    def through(name: str, values: np.ndarray) -> np.ndarray:
        return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    hidden = np.maximum(through("embed", bag), 0)
    gates = 1 / (1 + np.exp(-through("gate", hidden)))
    powers = np.exp(through("score", np.tanh(through("content", hidden)) * gates))
    return np.maximum(through("project", (powers / powers.sum() * hidden).sum(0)), 0)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4))
def test_each_bag_of_a_padded_batch_has_the_features_of_the_published_formula(seed: int, sizes: list[int]) -> None:
    generator = np.random.default_rng(seed)
    separate = [generator.normal(size=(size, 5)) for size in sizes]
    features = encoder()(*padded_bags([torch.from_numpy(bag) for bag in separate])).detach().numpy()
    expected = np.stack([features_by_hand(encoder(), bag) for bag in separate])
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-12)


def test_the_formula_in_numpy_notices_a_lost_instance() -> None:
    bag = bags(1)[0].numpy()
    assert np.abs(features_by_hand(encoder(), bag) - features_by_hand(encoder(), bag[:-1])).max() > 1e-3


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(6)))
def test_the_order_of_instances_does_not_matter(order: list[int]) -> None:
    torch.testing.assert_close(encoder()(bags()[:, order]), encoder()(bags()), rtol=0, atol=1e-12)


def test_a_row_does_not_depend_on_who_shares_its_batch() -> None:
    together = encoder()(bags())
    alone = torch.cat([encoder()(bags()[row : row + 1]) for row in range(4)])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-12)


def test_in_published_form_it_does() -> None:
    model = encoder(compat="published")
    assert (model(bags())[:2] - model(bags()[:2])).abs().max() > 1e-3


def test_shares_add_up_to_one_and_are_zero_in_padding() -> None:
    mask = torch.tensor([[True] * 6, [True, False] * 3, [False] * 5 + [True], [False] * 6])
    shares = encoder().attention(bags(), mask)
    torch.testing.assert_close(shares.sum(1), torch.tensor([1.0, 1, 1, 0]).double(), rtol=0, atol=1e-12)
    assert not shares[~mask].any()


@pytest.mark.parametrize("instances", [6, 0])
def test_an_empty_bag_has_finite_features_and_gradients(instances: int) -> None:
    model, values = encoder(), bags(instances=instances).requires_grad_()
    features = model(values, torch.zeros(4, instances, dtype=torch.bool))
    features.sum().backward()
    empty = torch.relu(model.project.bias).expand(4, -1)
    torch.testing.assert_close(features, empty, rtol=0, atol=0)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert values.grad.isfinite().all()


def test_what_stands_in_padding_reaches_nothing_even_if_it_is_not_a_number() -> None:
    mask = torch.tensor([[True] * 4 + [False] * 2] * 4)
    spoilt = bags().masked_fill(~mask.unsqueeze(-1), float("nan"))
    assert torch.equal(encoder()(spoilt, mask), encoder()(bags(), mask))


def test_scores_of_any_size_have_finite_shares() -> None:
    model = encoder()
    model.score.weight.data *= 1e6
    assert model(bags(), torch.ones(4, 6, dtype=torch.bool)).isfinite().all()


def test_an_instance_of_zeros_is_padding_where_asked_for() -> None:
    mask = torch.tensor([[True] * 4 + [False] * 2] * 4)
    zeroed = bags().masked_fill(~mask.unsqueeze(-1), 0)
    assert torch.equal(encoder(padding="zeros")(zeroed), encoder()(bags(), mask))
    assert (encoder()(zeroed) - encoder()(bags(), mask)).abs().max() > 1e-3


def test_a_mask_and_zeros_both_leave_instances_out() -> None:
    zeroed = bags().clone()
    zeroed[:, 0] = 0
    mask = torch.ones(4, 6, dtype=torch.bool)
    mask[:, 5] = False
    left = encoder(padding="zeros")(zeroed, mask)
    torch.testing.assert_close(left, encoder()(zeroed[:, 1:5]), rtol=0, atol=1e-12)


def test_the_published_parameter_count_is_kept() -> None:
    assert sum(p.numel() for p in AttentionMIL(1024, classes=4).parameters()) == 920_069


def test_bags_of_different_size_run_in_onnx_for_any_number_of_rows() -> None:
    values, mask = bags(rows=7).float(), torch.arange(6) < torch.tensor([[6], [1], [0], [3], [2], [6], [5]])
    values[0, 2] = 0  # left out as zeros, where the mask has it
    model = encoder(padding="zeros").float()
    assert largest_error(Positional(model), (values, mask)) <= 1e-5
    assert (model(values, mask) - encoder().float()(values, mask))[0].abs().max() > 1e-4


def test_a_collapsed_block_around_bags_is_the_block() -> None:
    block = LegoBlock(encoder(padding="zeros"), LegoSettings(8, 3, latents=5, width=6, heads=2, head_width=4))
    block, values = block.double().eval(), bags()
    values[1, 2:], values[2] = 0, 0
    torch.testing.assert_close(collapse(block)[0](values), block(values), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 5), (4, 6, 4)])
def test_values_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UnsupportedModuleError, match=r"give \(rows, instances, 5\)"):
        encoder()(torch.zeros(shape))


@pytest.mark.parametrize("mask", [torch.ones(4, 5, dtype=torch.bool), torch.ones(4, 6)])
def test_a_mask_of_other_bags_is_refused(mask: torch.Tensor) -> None:
    with pytest.raises(UnsupportedModuleError, match="give bool"):
        encoder()(bags(), mask)


def test_forms_that_cannot_be_are_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match="padding 'nan'"):
        encoder(padding="nan")
    with pytest.raises(UnsupportedModuleError, match="compat 'printed'"):
        encoder(compat="printed")
    with pytest.raises(UnsupportedModuleError, match="published form has no rule"):
        encoder(compat="published", padding="zeros")
    with pytest.raises(UnsupportedModuleError, match="published form has no rule"):
        encoder(compat="published")(bags(), torch.ones(4, 6, dtype=torch.bool))
    with pytest.raises(UnsupportedModuleError, match="hidden is 0"):
        encoder(hidden=0)
    with pytest.raises(UnsupportedModuleError, match="no bags"):
        padded_bags([])
    with pytest.raises(UnsupportedModuleError, match=r"dropout is 1\.5"):
        encoder(dropout=1.5)


@pytest.mark.parametrize("shapes", [[(2, 3), (2, 4)], [(3,)], [(2, 3), (2, 3, 1)]])
def test_bags_that_do_not_fit_together_are_refused_with_their_shapes(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(UnsupportedModuleError, match=r"bags of shapes \(.*give each \(instances, inputs\)"):
        padded_bags([torch.zeros(shape) for shape in shapes])


def test_the_mask_of_padded_bags_is_where_the_bags_are() -> None:
    values, mask = padded_bags([torch.zeros(2, 3, device="meta"), torch.zeros(0, 3, device="meta")])
    assert mask.device == values.device
