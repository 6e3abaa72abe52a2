"""Our block gives what the published one gave."""

import pytest
import torch

from onepath.merging.lego import LegoBlock
from tests.merging.golden import largest_difference, mm_lego, wide
from tests.merging.lego.golden_blocks import golden_block, golden_input

COVERS = ("A.*", "I.*", "T.*", "N1.*", "N2.*", "x.*", "Ivar.*", "Iodd.*")
TOLERANCE = 1e-9
VARIANTS = {
    "depth1": {"layers": (0,)},
    "depth3": {"layers": (0, 1, 2)},
    "notrack": {"track_imaginary": False},
    "nonorm": {"normalise": False},
    "ws_false_depth3": {"layers": (0, 2, 2)},
    "odd_lc": {"latent": "Iodd.latent"},
    "fdim2": {"fourier_dim": 2},
}
WITH_LOGITS = [name for name in VARIANTS if f"Ivar.{name}.logits" in mm_lego()]


def spectrum(block: LegoBlock, name: str) -> torch.Tensor:
    return torch.complex(*block.encoded(golden_input(name)))


@pytest.mark.parametrize("name", "AIT")
def test_the_context_is_the_encoders_output_as_tokens(name: str) -> None:
    context = golden_block(name).context(golden_input(name))
    assert largest_difference(context, mm_lego()[f"{name}.out.features"]) <= TOLERANCE


@pytest.mark.parametrize("name", "AIT")
def test_the_spectrum_is_the_published_complex_latent(name: str) -> None:
    difference = largest_difference(spectrum(golden_block(name), name), mm_lego()[f"{name}.out.latent_complex"])
    assert difference <= TOLERANCE


@pytest.mark.parametrize("name", "AIT")
def test_the_real_part_is_the_published_embedding(name: str) -> None:
    embedding = golden_block(name).encoded(golden_input(name)).real
    assert largest_difference(embedding, mm_lego()[f"{name}.out.embedding"]) <= TOLERANCE


@pytest.mark.parametrize("name", "AIT")
def test_the_logits_are_the_published_ones(name: str) -> None:
    logits = golden_block(name)(golden_input(name))
    assert largest_difference(logits, mm_lego()[f"{name}.out.logits"]) <= TOLERANCE


@pytest.mark.parametrize("name", ["A", "I", "T", "N1", "N2"])
def test_the_published_form_gives_the_published_results(name: str) -> None:
    block = golden_block(name, compat="published")
    state = block.encoded(golden_input(name))
    assert largest_difference(torch.complex(*state), mm_lego()[f"{name}.out.latent_complex"]) <= TOLERANCE
    assert largest_difference(state.real, mm_lego()[f"{name}.out.embedding"]) <= TOLERANCE
    assert largest_difference(block(golden_input(name)), mm_lego()[f"{name}.out.logits"]) <= TOLERANCE


@pytest.mark.parametrize(("variant", "form"), VARIANTS.items())
def test_the_published_form_gives_every_published_variant(variant: str, form: dict) -> None:
    block = golden_block("I", compat="published", **form)
    assert largest_difference(spectrum(block, "I"), mm_lego()[f"Ivar.{variant}.latent"]) <= TOLERANCE


def test_the_published_form_is_spatial_where_the_block_is() -> None:
    block = golden_block("I", compat="published", frequency_domain=False)
    assert largest_difference(spectrum(block, "I").real, mm_lego()["Ivar.spatial.latent"]) <= TOLERANCE


@pytest.mark.parametrize("name", ["N1", "N2"])
def test_without_an_encoder_the_self_attention_counts_unlike_in_the_published_form(name: str) -> None:
    logits = golden_block(name)(golden_input(name))
    assert largest_difference(logits, mm_lego()[f"{name}.out.logits"]) > 1e-2
    block = golden_block(name)
    with torch.no_grad():  # self-attention that gives zeros leaves the published block
        for index in range(2):
            block.mixer(index).attention.output.weight.zero_()
            block.mixer(index).attention.output.bias.zero_()
    assert largest_difference(block(golden_input(name)), mm_lego()[f"{name}.out.logits"]) <= TOLERANCE


def test_the_comparison_notices_layers_in_the_wrong_order() -> None:
    logits = golden_block("I", layers=(1, 0))(golden_input("I"))
    assert largest_difference(logits, mm_lego()["I.out.logits"]) > 1e-3


@pytest.mark.parametrize(("variant", "form"), VARIANTS.items())
def test_each_form_of_the_block_gives_the_published_spectrum(variant: str, form: dict) -> None:
    difference = largest_difference(spectrum(golden_block("I", **form), "I"), mm_lego()[f"Ivar.{variant}.latent"])
    assert difference <= TOLERANCE


@pytest.mark.parametrize(("variant", "form"), VARIANTS.items())
def test_the_plain_block_is_not_any_of_the_other_forms(variant: str, form: dict) -> None:
    golden = mm_lego()[f"Ivar.{variant}.latent"]
    plain = spectrum(golden_block("I"), "I")
    assert plain.shape != golden.shape or largest_difference(plain, golden) > 1e-3


@pytest.mark.parametrize("variant", WITH_LOGITS)
def test_each_form_of_the_block_gives_the_published_logits(variant: str) -> None:
    logits = golden_block("I", **VARIANTS[variant])(golden_input("I"))
    assert largest_difference(logits, mm_lego()[f"Ivar.{variant}.logits"]) <= TOLERANCE


def test_out_of_the_frequency_domain_the_results_are_the_published_ones() -> None:
    block = golden_block("I", frequency_domain=False)
    assert largest_difference(spectrum(block, "I").real, mm_lego()["Ivar.spatial.latent"]) <= TOLERANCE
    assert largest_difference(block(golden_input("I")), mm_lego()["Ivar.spatial.logits"]) <= TOLERANCE


def test_a_given_latent_is_used_in_the_place_of_the_blocks_own() -> None:
    block = golden_block("I")
    given = block.spectrum(block.mixed(block.context(golden_input("I"))), wide("I.passed_latent"))
    assert largest_difference(given.real, mm_lego()["I.out.embedding_given_latent"]) <= TOLERANCE
