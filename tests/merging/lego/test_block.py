"""How a block behaves, whatever its weights."""

import copy

import numpy as np
import pytest
import torch

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.lego import LegoBlock, LegoSettings
from tests.merging.lego.small_blocks import TOKENS, TokenEncoder, small_block, small_inputs


@pytest.mark.parametrize("name", "abc")
def test_the_encoder_runs_once_a_call(name: str) -> None:
    block = small_block(name, depth=3)
    block(small_inputs()[name])
    assert block.encoder.runs == 1


@pytest.mark.parametrize("name", "abcmn")
def test_a_row_does_not_depend_on_its_company(name: str) -> None:
    block, values = small_block(name), small_inputs(name)[name]
    torch.testing.assert_close(block(values[2:3]), block(values)[2:3], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", "abcmn")
def test_no_rows_give_no_rows(name: str) -> None:
    assert small_block(name)(small_inputs(name, rows=0)[name]).shape == (0, 3)


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


@pytest.mark.parametrize("precision", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("fourier_dim", [1, 2])
def test_a_zero_latent_gives_finite_logits_and_gradients(fourier_dim: int, precision: torch.dtype) -> None:
    block = small_block("a", fourier_dim=fourier_dim).to(precision)
    block.latent.data.zero_()
    logits = block(small_inputs()["a"].to(precision))
    logits.sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in block.parameters())


def test_shared_layers_hold_one_layer_for_all_depths() -> None:
    assert len(small_block("a", depth=3, share_layers=True).layers) == 1
    assert len(small_block("a", depth=3).layers) == 3


def test_an_encoder_of_another_width_is_refused_with_both_shapes() -> None:
    block = LegoBlock(TokenEncoder(3, 5, 1), LegoSettings(feature_dim=7, classes=3))
    with pytest.raises(UnsupportedModuleError, match=r"features are \(2, 1, 5\).*1 tokens, 7"):
        block(torch.zeros(2, 3))


def test_an_encoder_that_returns_no_tensor_is_refused_with_what_it_returns() -> None:
    block = LegoBlock(torch.nn.LSTM(3, 7, batch_first=True), LegoSettings(feature_dim=7, classes=3))
    with pytest.raises(UnsupportedModuleError, match=r"the block's LSTM: it returns a tuple"):
        block(torch.zeros(2, 4, 3))


def test_another_number_of_tokens_is_refused_unless_it_is_open() -> None:
    values = small_inputs()["b"]
    with pytest.raises(UnsupportedModuleError, match="set feature_dim and tokens"):
        small_block("b", tokens=3)(values)
    assert small_block("b", tokens=None)(values).shape == (7, 3)


def test_a_size_below_one_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedModuleError, match="depth is 0"):
        small_block("a", depth=0)


def test_no_tokens_at_all_are_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match="tokens is 0"):
        small_block("b", tokens=0)


@pytest.mark.parametrize("dropout", [-0.1, 1.5, float("nan")])
def test_a_dropout_that_is_no_chance_is_refused(dropout: float) -> None:
    with pytest.raises(UnsupportedModuleError, match=rf"dropout is {dropout}"):
        small_block("b", dropout=dropout)


def test_without_an_encoder_each_depth_reads_tokens_of_its_own() -> None:
    block, values = small_block("m", depth=3), small_inputs("m")["m"]
    context = block.context(values)
    assert context.shape == (7, 3, 5, 6)
    for depth in range(3):
        assert torch.equal(context[:, depth], block.mixer(depth)(values))


def test_a_mixer_sends_the_feed_forward_what_the_attention_made() -> None:
    mixer, tokens = small_block("m").mixer(0), small_inputs("m")["m"]
    attended = tokens + mixer.attention(tokens)
    assert torch.equal(mixer(tokens), attended + mixer.feed_forward(attended))


def test_depths_that_share_their_weights_share_the_mixer() -> None:
    block = small_block("m", depth=3, share_layers=True)
    assert block.context(small_inputs("m")["m"]).shape == (7, 1, 5, 6)
    assert block(small_inputs("m")["m"]).shape == (7, 3)


def test_a_block_with_an_encoder_has_no_mixer() -> None:
    with pytest.raises(UnsupportedModuleError, match="it has an encoder instead"):
        small_block("a").mixer(0)


@pytest.mark.parametrize("name", "bm")
def test_without_a_transform_of_the_context_the_order_of_a_bag_does_not_matter(name: str) -> None:
    order = torch.tensor([2, 0, 3, 1, *range(4, TOKENS[name])])
    for context_fft in (False, True):
        block = small_block(name, context_fft=context_fft)
        tokens = block.context(small_inputs(name)[name])
        logits = [
            block.head(block.spectrum(block.mixed(some)).real.mean(1)) for some in (tokens, tokens[..., order, :])
        ]
        assert ((logits[0] - logits[1]).abs().max() < 1e-12) is not context_fft


def test_over_features_the_transform_is_numpys() -> None:
    block = small_block("b", depth=1, fourier_dim=2)
    latent = block.latent.detach().numpy()
    start = block.own_start(1)
    expected = np.fft.fft(latent / np.linalg.norm(latent, axis=1, keepdims=True), axis=1)
    np.testing.assert_allclose(torch.complex(*start)[0].detach().numpy(), expected, rtol=0, atol=1e-12)
    tokens = block.context(small_inputs()["b"])
    expected = np.fft.fft(tokens.detach().numpy(), axis=2).real
    np.testing.assert_allclose(block.mixed(tokens).detach().numpy(), expected, rtol=0, atol=1e-12)


def test_a_transform_over_the_batch_is_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match=r"fourier_dim is 0.*would mix its rows"):
        small_block("a", fourier_dim=0)


def test_the_published_form_runs_the_encoder_anew_at_every_depth() -> None:
    block = small_block("b", depth=3, compat="published")
    block(small_inputs()["b"])
    assert block.encoder.runs == 3


@pytest.mark.parametrize("form", [{}, {"fourier_dim": 2}, {"context_fft": False}], ids=str)
@pytest.mark.parametrize("name", "ab")
def test_with_an_encoder_the_published_form_gives_the_same_logits(name: str, form: dict) -> None:
    values = small_inputs()[name]
    published = small_block(name, compat="published", depth=3, **form)(values)
    torch.testing.assert_close(small_block(name, depth=3, **form)(values), published, rtol=0, atol=1e-12)


def test_the_published_form_of_a_zero_latent_is_not_a_number() -> None:
    block = small_block("a", compat="published")
    block.latent.data.zero_()
    assert block(small_inputs()["a"]).isnan().all()


def test_an_unknown_compat_is_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match="leave it out, or use published"):
        small_block("a", compat="printed")
