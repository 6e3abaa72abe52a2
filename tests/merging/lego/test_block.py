"""How a block behaves, whatever its weights."""

import copy

import pytest
import torch

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.lego import LegoBlock, LegoSettings
from tests.merging.lego.small_blocks import TokenEncoder, small_block, small_inputs


@pytest.mark.parametrize("name", "abc")
def test_the_encoder_runs_once_a_call(name: str) -> None:
    block = small_block(name, depth=3)
    block(small_inputs()[name])
    assert block.encoder.runs == 1


@pytest.mark.parametrize("name", "abc")
def test_a_row_does_not_depend_on_its_company(name: str) -> None:
    block, values = small_block(name), small_inputs()[name]
    torch.testing.assert_close(block(values[2:3]), block(values)[2:3], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", "abc")
def test_no_rows_give_no_rows(name: str) -> None:
    assert small_block(name)(small_inputs(rows=0)[name]).shape == (0, 3)


@pytest.mark.parametrize("name", "abc")
def test_a_call_changes_neither_weights_nor_input(name: str) -> None:
    block, values = small_block(name), small_inputs()[name]
    weights, before = copy.deepcopy(block.state_dict()), values.clone()
    block.spectrum(block.mixed(block.context(values)), torch.randn(7, 6, 8, dtype=torch.float64))
    assert torch.equal(values, before)
    assert all(torch.equal(weights[key], value) for key, value in block.state_dict().items())


@pytest.mark.parametrize("latents", [5, 6])
def test_the_spectrum_is_that_of_a_real_tensor(latents: int) -> None:
    block = small_block("b", latents=latents)
    spectrum = torch.complex(*block.spectrum(block.mixed(block.context(small_inputs()["b"]))))
    mirrored = spectrum[:, [0, *range(latents - 1, 0, -1)]].conj()
    torch.testing.assert_close(spectrum, mirrored, rtol=0, atol=1e-12)


def test_a_zero_latent_gives_finite_logits_and_gradients() -> None:
    block = small_block("a")
    block.latent.data.zero_()
    block(small_inputs()["a"]).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in block.parameters())


def test_shared_layers_hold_one_layer_for_all_depths() -> None:
    assert len(small_block("a", depth=3, share_layers=True).layers) == 1
    assert len(small_block("a", depth=3).layers) == 3


def test_an_encoder_of_another_width_is_refused_with_both_shapes() -> None:
    block = LegoBlock(TokenEncoder(3, 5, 1), LegoSettings(feature_dim=7, classes=3))
    with pytest.raises(UnsupportedModuleError, match=r"features are \(2, 1, 5\).*1 tokens, 7"):
        block(torch.zeros(2, 3))


def test_another_number_of_tokens_is_refused_unless_it_is_open() -> None:
    values = small_inputs()["b"]
    with pytest.raises(UnsupportedModuleError, match="set feature_dim and tokens"):
        small_block("b", tokens=3)(values)
    assert small_block("b", tokens=None)(values).shape == (7, 3)


def test_a_size_below_one_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedModuleError, match="depth is 0"):
        small_block("a", depth=0)
