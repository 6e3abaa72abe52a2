"""Collapsed Lego models give what their multi-path forms give, in float64 to rounding."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse import collapse
from onepath.export.collapse.lego_block import CollapsedLegoBlock
from onepath.merging.encoders import AttentionMIL
from onepath.merging.lego import LegoBlock, LegoFuse, LegoMerge
from onepath.merging.lego.heads import HEAD_METHODS
from tests.merging.golden import largest_difference, mm_lego, wide
from tests.merging.lego.golden_blocks import golden_block, golden_blocks, golden_input, golden_inputs
from tests.merging.lego.small_blocks import every_pattern, small_block, small_blocks, small_inputs

COVERS = ("collapse.*",)
TOLERANCE = 1e-10
METHODS = ["sum", "mean", "product", "harmonic"]
ORDERS = ["stack", "weave"]
SIZES = [(6, 1), (5, 2), (6, 3)]  # latents, depth
FORMS = [
    {},
    {"normalise": False},
    {"track_imaginary": False},
    {"frequency_domain": False},
    {"share_layers": True},
    {"context_fft": False},
    {"fourier_dim": 2},
    {"fourier_dim": 2, "normalise": False},
    {"fourier_dim": 2, "track_imaginary": False},
    {"fourier_dim": 2, "context_fft": False, "share_layers": True},
]


def relative_error(result: torch.Tensor, reference: torch.Tensor) -> float:
    return ((result - reference).abs().max() / reference.abs().max()).item()


def model_of(kind: str, blocks: dict) -> nn.Module:
    if kind in ORDERS:
        return LegoFuse(blocks, order=kind)
    return LegoMerge(blocks, method=kind, weights={"a": 2, list(blocks)[-1]: 0.5})


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize(("latents", "depth"), SIZES)
@pytest.mark.parametrize("name", "abcmn")
def test_a_collapsed_block_gives_the_same_logits(name: str, latents: int, depth: int, form: dict) -> None:
    block, values = small_block(name, latents=latents, depth=depth, **form), small_inputs(name)[name]
    assert relative_error(collapse(block)[0](values), block(values)) <= TOLERANCE


@pytest.mark.parametrize(("latents", "depth"), SIZES)
@pytest.mark.parametrize("kind", [*METHODS, *ORDERS])
def test_a_collapsed_model_gives_the_same_scores_for_every_pattern(kind: str, latents: int, depth: int) -> None:
    model = model_of(kind, small_blocks(latents=latents, depth=depth))
    inputs, patterns = small_inputs(), every_pattern(3)
    assert relative_error(collapse(model)[0](inputs, patterns), model(inputs, patterns)) <= TOLERANCE


@pytest.mark.parametrize("head", sorted(HEAD_METHODS))
@pytest.mark.parametrize("kind", ["sum", "harmonic", "stack"])
def test_every_head_method_collapses_for_every_pattern(kind: str, head: str) -> None:
    blocks, inputs, patterns = small_blocks(), small_inputs(), every_pattern(3)
    model = LegoFuse(blocks, order=kind, head=head) if kind in ORDERS else LegoMerge(blocks, method=kind, head=head)
    assert relative_error(collapse(model)[0](inputs, patterns), model(inputs, patterns)) <= TOLERANCE


@pytest.mark.parametrize("form", [{}, {"fourier_dim": 2}, {"share_layers": True}], ids=str)
@pytest.mark.parametrize("kind", ["sum", "harmonic", "weave"])
def test_blocks_without_encoders_collapse_for_every_pattern(kind: str, form: dict) -> None:
    model, inputs, patterns = model_of(kind, small_blocks("amn", **form)), small_inputs("amn"), every_pattern(3)
    assert relative_error(collapse(model)[0](inputs, patterns), model(inputs, patterns)) <= TOLERANCE


@pytest.mark.parametrize("kind", [*METHODS, *ORDERS])
def test_the_comparison_notices_a_change_in_one_folded_number(kind: str) -> None:
    model = model_of(kind, small_blocks())
    collapsed, _ = collapse(model)
    next(p for name, p in collapsed.named_parameters() if name.endswith("expand.weight")).data[0, 0] += 1e-3
    inputs, patterns = small_inputs(), every_pattern(3)
    assert relative_error(collapsed(inputs, patterns), model(inputs, patterns)) > TOLERANCE


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("kind", ["harmonic", "weave"])
def test_every_form_of_block_collapses_inside_a_model(kind: str, form: dict) -> None:
    model = model_of(kind, small_blocks(**form))
    inputs, patterns = small_inputs(), every_pattern(3)
    assert relative_error(collapse(model)[0](inputs, patterns), model(inputs, patterns)) <= TOLERANCE


def test_blocks_of_different_depth_collapse_in_one_chain() -> None:
    model = LegoFuse({"a": small_block("a", depth=3), "b": small_block("b", depth=1)}, order="weave")
    inputs, patterns = small_inputs("ab", rows=3), every_pattern(2)
    assert relative_error(collapse(model)[0](inputs, patterns), model(inputs, patterns)) <= TOLERANCE


def test_an_open_number_of_tokens_collapses_for_any_number() -> None:
    block, values = small_block("b", tokens=None), small_inputs()["b"]
    assert relative_error(collapse(block)[0](values), block(values)) <= TOLERANCE


@pytest.mark.parametrize("name", "AIT")
def test_collapsed_golden_blocks_give_the_published_logits(name: str) -> None:
    collapsed, _ = collapse(golden_block(name))
    assert largest_difference(collapsed(golden_input(name)), mm_lego()[f"{name}.out.logits"]) <= 1e-9


def test_a_collapsed_golden_merge_gives_the_published_logits() -> None:
    collapsed, _ = collapse(LegoMerge(golden_blocks("AI"), method="sum", head="linear"))
    assert largest_difference(collapsed(golden_inputs("AI")), mm_lego()["merge.AI.sum.linear.a0.5.logits"]) <= 1e-9


def test_the_folded_constants_are_the_derived_ones() -> None:
    collapsed, _ = collapse(golden_block("A"))
    assert isinstance(collapsed, CollapsedLegoBlock)
    start = torch.complex(collapsed.chain.start_real, collapsed.chain.start_imag)
    assert largest_difference(start, mm_lego()["collapse.A.z0_half"]) <= 1e-9
    weight = torch.cat([wide("collapse.A.d0.W"), wide("collapse.A.d1.W")]).numpy()
    bias = torch.cat([wide("collapse.A.d0.b"), wide("collapse.A.d1.b")]).numpy()
    assert largest_difference(collapsed.features.read.weight, weight) <= 1e-9
    assert largest_difference(collapsed.features.read.bias, bias) <= 1e-9


@pytest.mark.parametrize("kind", [*METHODS, *ORDERS])
def test_no_rows_give_no_rows(kind: str) -> None:
    collapsed, _ = collapse(model_of(kind, small_blocks()))
    assert collapsed(small_inputs(rows=0), torch.ones(0, 3, dtype=torch.bool)).shape == (0, 3)


@pytest.mark.parametrize("names", ["abc", "amn"])
@pytest.mark.parametrize("kind", [*METHODS, *ORDERS])
def test_the_absent_value_has_the_shape_of_a_rows_features(kind: str, names: str) -> None:
    for model in (model_of(kind, small_blocks(names)), collapse(model_of(kind, small_blocks(names)))[0]):
        for name, values in small_inputs(names).items():
            assert model.absent(name).shape == model.encoders[name](values).shape[1:]


def test_sum_and_mean_need_one_vector_a_modality() -> None:
    collapsed, _ = collapse(LegoMerge(small_blocks(), method="sum"))
    assert collapsed.encoders["b"](small_inputs()["b"]).shape == (7, 1, 1, 8)


def test_other_methods_need_half_a_spectrum() -> None:
    collapsed, _ = collapse(LegoMerge(small_blocks(), method="harmonic"))
    assert collapsed.encoders["b"](small_inputs()["b"]).shape == (7, 2, 4, 8)


def test_a_collapse_leaves_the_model_and_its_weights_alone() -> None:
    model = LegoMerge(small_blocks())
    before, inputs = copy.deepcopy(model.state_dict()), small_inputs()
    scores = model(inputs)
    collapse(model)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(model(inputs), scores)


@pytest.mark.parametrize("kind", ["sum", "harmonic", "stack"])
def test_collapsing_twice_equals_collapsing_once(kind: str) -> None:
    once, _ = collapse(model_of(kind, small_blocks()))
    twice, report = collapse(once)
    assert report.layers == ()
    assert list(once.state_dict()) == list(twice.state_dict())
    assert torch.equal(once(small_inputs()), twice(small_inputs()))


@pytest.mark.parametrize("kind", [*METHODS, *ORDERS])
def test_a_collapsed_state_dict_loads_strictly_into_another_collapsed_model(kind: str) -> None:
    names = "abm"
    collapsed, _ = collapse(model_of(kind, small_blocks(names)))
    other, _ = collapse(model_of(kind, small_blocks(names, seed=9)))
    inputs, patterns = small_inputs(names), every_pattern(3)
    assert not torch.equal(other(inputs, patterns), collapsed(inputs, patterns))
    other.load_state_dict(collapsed.state_dict(), strict=True)
    assert torch.equal(other(inputs, patterns), collapsed(inputs, patterns))


@pytest.mark.parametrize("kind", ["sum", "harmonic", "stack"])
def test_no_two_entries_of_a_collapsed_state_dict_share_memory(kind: str) -> None:
    state = collapse(model_of(kind, small_blocks()))[0].state_dict()
    assert all(type(value) is torch.Tensor for value in state.values())
    assert len({value.data_ptr() for value in state.values()}) == len(state)


def test_the_report_names_each_block_and_the_sizes() -> None:
    model = LegoMerge(small_blocks(), method="sum")
    collapsed, report = collapse(model)
    assert [entry.layer for entry in report.layers] == ["encoders.a", "encoders.b", "encoders.c", "heads"]
    assert report.parameters_before == sum(value.numel() for value in model.state_dict().values())
    assert report.parameters_after == sum(value.numel() for value in collapsed.state_dict().values())
    assert report.as_json()["layers"][0]["rule"] == "lego_merge"


def test_a_single_token_block_has_far_fewer_numbers_than_before() -> None:
    report = collapse(small_block("a", width=16, latents=16, head_width=64))[1]
    assert report.parameters_after < report.parameters_before / 2


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: LegoFuse(small_blocks(), compat="published"), "a LegoFuse"),
        (lambda: LegoMerge(small_blocks(), compat="published"), "a LegoMerge"),
        (lambda: LegoMerge(small_blocks(compat="published")), "block a"),
        (lambda: LegoFuse(small_blocks(compat="published")), "block a"),
        (lambda: small_block("a", compat="published"), "the LegoBlock around a TokenEncoder"),
        (lambda: small_block("m", compat="published"), "the LegoBlock"),
    ],
)
def test_the_published_form_is_refused(make: Callable[[], nn.Module], name: str) -> None:
    with pytest.raises(UnsupportedModuleError, match=f"{name} with compat='published': it is for comparisons only"):
        collapse(make())


@pytest.mark.parametrize(
    "make", [lambda block: block, lambda block: LegoMerge({"a": block}), lambda b: LegoFuse({"a": b})]
)
def test_an_encoder_that_mixes_rows_as_published_is_refused(make: Callable[[LegoBlock], nn.Module]) -> None:
    encoder = AttentionMIL(3, hidden=4, attention=4, feature_dim=7, compat="published")
    model = make(LegoBlock(nn.Sequential(encoder), small_block("a").settings)).eval()
    with pytest.raises(UnsupportedModuleError, match=r"the AttentionMIL of .* with compat='published'"):
        collapse(model)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("fourier_dim", [1, 2])
def test_a_zero_latent_collapses_to_finite_logits_in_any_precision(fourier_dim: int, precision: torch.dtype) -> None:
    block, values = small_block("a", fourier_dim=fourier_dim).to(precision), small_inputs()["a"].to(precision)
    block.latent.data.zero_()
    for layer in block.layers:  # nothing is read and nothing added: the second depth starts from zeros too
        for linear in (layer.attention.output, layer.feed_forward.contract):
            linear.weight.data.zero_()
            linear.bias.data.zero_()
    assert block(values).isfinite().all()
    torch.testing.assert_close(collapse(block)[0](values), block(values), rtol=1e-2, atol=1e-2)


def test_dropout_that_acts_in_a_mixer_is_refused_and_left_out_in_eval_mode() -> None:
    block, values = small_block("m", dropout=0.5), small_inputs("m")["m"]
    collapsed, _ = collapse(block)
    assert relative_error(collapsed.train()(values), block(values)) <= TOLERANCE
    block.mixers.train()
    with pytest.raises(UnsupportedModuleError, match=r"the LegoBlock: .*dropout 0\.5"):
        collapse(block)


def test_a_mixer_of_one_token_keeps_neither_query_nor_key() -> None:
    folded = [name for name, _ in collapse(small_block("n"))[0].named_parameters() if "mixers" in name]
    assert any("value" in name for name in folded)
    assert not any("query" in name or "key" in name for name in folded)


def test_a_plug_in_method_collapses_on_half_the_spectrum() -> None:
    def loudest(spectra, present, weights):
        masked = [torch.where(present[:, :, None, None], part, 0.0) for part in spectra]
        best = (masked[0] ** 2 + masked[1] ** 2).argmax(dim=1, keepdim=True)
        return type(spectra)(*(part.gather(1, best).squeeze(1) for part in masked))

    model = LegoMerge(small_blocks(), method=loudest)
    inputs, patterns = small_inputs(), every_pattern(3)
    assert relative_error(collapse(model)[0](inputs, patterns), model(inputs, patterns)) <= TOLERANCE
    assert np.isfinite(model(inputs, patterns).detach().numpy()).all()


def collapsible(kind: str, **form: float) -> nn.Module:
    return small_block("a", **form) if kind == "block" else model_of(kind, small_blocks(**form))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("block", "the LegoBlock around a TokenEncoder"),
        ("sum", "block a"),
        ("harmonic", "block a"),
        ("weave", "block a"),
    ],
)
def test_dropout_that_acts_is_refused_with_the_name_of_the_block(kind: str, name: str) -> None:
    model = collapsible(kind, dropout=0.5).train()
    with pytest.raises(UnsupportedModuleError, match=rf"{name}: .*dropout 0\.5.*call \.eval\(\) on the model first"):
        collapse(model)


def test_the_one_block_that_drops_out_is_the_one_that_is_named() -> None:
    model = LegoMerge({"a": small_block("a"), "b": small_block("b", dropout=0.25)}).train()
    with pytest.raises(UnsupportedModuleError, match=r"block b: .*dropout 0\.25"):
        collapse(model)


def test_dropout_in_eval_mode_collapses_to_equal_scores_and_is_reported() -> None:
    model, inputs = model_of("harmonic", small_blocks(dropout=0.5)), small_inputs()
    collapsed, report = collapse(model)
    assert relative_error(collapsed(inputs), model(inputs)) <= TOLERANCE
    assert "dropout left out, as in eval mode" in report.layers[0].folded


def test_without_dropout_a_model_in_training_mode_collapses_to_equal_scores() -> None:
    model, inputs = model_of("harmonic", small_blocks()).train(), small_inputs()
    assert relative_error(collapse(model)[0](inputs), model(inputs)) <= TOLERANCE


def test_dropout_of_an_encoder_is_kept() -> None:
    block = small_block("a").train()
    block.encoder = nn.Sequential(block.encoder, nn.Dropout(0.5))
    assert any(isinstance(module, nn.Dropout) and module.training for module in collapse(block)[0].modules())


class Doubled(LegoBlock):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(values)


def test_a_block_with_another_forward_is_refused() -> None:
    block = small_block("a")
    block.__class__ = Doubled
    with pytest.raises(UnsupportedModuleError, match="its forward is not that of LegoBlock"):
        collapse(block)


@pytest.mark.parametrize("path", ["", "layers.0.attention", "head.linear"])
def test_a_hook_on_what_is_taken_apart_is_refused(path: str) -> None:
    block = small_block("a")
    block.get_submodule(path).register_forward_hook(lambda _module, _inputs, output: 2 * output)
    with pytest.raises(UnsupportedModuleError, match="a hook sees values"):
        collapse(block)


def test_a_hook_on_the_encoder_is_kept() -> None:
    block, values = small_block("a"), small_inputs()["a"]
    block.encoder.register_forward_hook(lambda _module, _inputs, output: 2 * output)
    assert relative_error(collapse(block)[0](values), block(values)) <= TOLERANCE


@pytest.mark.parametrize("kind", ["sum", "stack"])
def test_a_merged_model_with_a_hook_is_refused(kind: str) -> None:
    model = collapsible(kind)
    model.register_forward_hook(lambda _module, _inputs, output: 2 * output)
    with pytest.raises(UnsupportedModuleError, match="a hook sees values"):
        collapse(model)
