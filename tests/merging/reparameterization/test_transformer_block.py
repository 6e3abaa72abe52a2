"""The block of the published figure, and the published code's block for comparison."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse import collapse
from onepath.merging.reparameterization import MPTransformer, MPTransformerBlock, scales
from onepath.merging.reparameterization.parametrization import CrossModalWeight
from onepath.merging.reparameterization.published_block import PublishedMPTransformerBlock
from onepath.merging.reparameterization.transformer_block import LAYERS, attach_to_block
from tests.merging.golden import largest_difference, m2pt

COVERS_M2PT = ("mpblock/*",)
TOKENS = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
NAMES = {
    "shared.weight": "original_linear.weight",
    "shared.bias": "original_linear.bias",
    "first.weight": "ffn_1st_rep_linear.original_linear.weight",
    "first.bias": "ffn_1st_rep_linear.original_linear.bias",
    "second.weight": "ffn_2nd_linear.original_linear.weight",
    "second.bias": "ffn_2nd_linear.original_linear.bias",
    "first_norm.weight": "ffn.3.weight",
    "first_norm.bias": "ffn.3.bias",
    "second_norm.weight": "ffn.6.weight",
    "second_norm.bias": "ffn.6.bias",
    "norm.weight": "norm.weight",
    "norm.bias": "norm.bias",
} | {
    f"{mine}.{part}": f"mha.{theirs}.A.{part}"
    for mine, theirs in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("output", "out_proj"))
    for part in ("weight", "bias")
}
AUXILIARY = {
    "shared": "auxiliar_linear",
    "first": "ffn_1st_rep_linear.auxiliary_linear",
    "second": "ffn_2nd_linear.auxiliary_linear",
}
SCALES = {"shared": "reparametrization", "first": "ffn_1st_rep_linear", "second": "ffn_2nd_linear"}


def golden(name: str) -> torch.Tensor:
    return torch.from_numpy(m2pt()[f"mpblock/state/{name}"])


def published_block(factor: float = 1.0) -> PublishedMPTransformerBlock:
    block, auxiliary = (PublishedMPTransformerBlock(16, heads=2).eval() for _ in range(2))
    block.load_state_dict({mine: golden(theirs) for mine, theirs in NAMES.items()})
    for mine, theirs in AUXILIARY.items():
        auxiliary.get_submodule(mine).weight.data = golden(f"{theirs}.weight")
        auxiliary.get_submodule(mine).bias.data = golden(f"{theirs}.bias")
    block.attach(auxiliary)
    for layer, name in SCALES.items():
        link = block.get_submodule(layer).parametrizations.weight[0]
        link.scale.data.copy_(factor * golden(f"{name}.cross_modal_scale"))
    return block


def test_the_published_block_gives_the_published_output_before_and_after_its_collapse() -> None:
    block = published_block()
    tokens, expected = torch.from_numpy(m2pt()["mpblock/x"]), m2pt()["mpblock/y"]
    assert largest_difference(block(tokens), expected) <= 1e-5
    assert largest_difference(collapse(block)[0](tokens), expected) <= 1e-5


def test_a_scale_one_percent_off_would_be_seen() -> None:
    tokens = torch.from_numpy(m2pt()["mpblock/x"])
    assert largest_difference(published_block(1.01)(tokens), m2pt()["mpblock/y"]) > 1e-4


@torch.no_grad()
def test_the_auxiliarys_biases_are_no_part_of_the_published_output() -> None:
    block = published_block()
    for mine, theirs in AUXILIARY.items():
        scale = golden(f"{SCALES[mine]}.cross_modal_scale")
        block.get_submodule(mine).bias += scale * golden(f"{theirs}.bias")
    assert largest_difference(block(torch.from_numpy(m2pt()["mpblock/x"])), m2pt()["mpblock/y"]) > 1e-3


def test_the_auxiliary_of_a_block_has_the_name_that_it_was_attached_by() -> None:
    block = MPTransformerBlock(16, heads=2)
    attach_to_block(block, MPTransformerBlock(16, heads=2), name="pixels")
    assert {module.name for module in block.modules() if isinstance(module, CrossModalWeight)} == {"pixels"}


def set_scales(model: nn.Module, value: float) -> None:
    for module in model.modules():
        if isinstance(module, CrossModalWeight):
            module.scale.data.fill_(value)


def pathway_block(value: float = 0.4) -> tuple[MPTransformerBlock, MPTransformerBlock, MPTransformerBlock]:
    torch.manual_seed(3)
    plain, auxiliary = (MPTransformerBlock(16, heads=2).double().eval() for _ in range(2))
    block = copy.deepcopy(plain)
    attach_to_block(block, auxiliary)
    set_scales(block, value)
    return block, plain, auxiliary


def by_two_paths(plain: MPTransformerBlock, auxiliary: MPTransformerBlock, tokens: torch.Tensor) -> torch.Tensor:
    """The oracle: the figure written out, each layer as two matrix products."""

    def both(name: str, values: torch.Tensor) -> torch.Tensor:
        mine, theirs = plain.get_submodule(name), auxiliary.get_submodule(name)
        return values @ mine.weight.T + mine.bias + 0.4 * (values @ theirs.weight.T)

    normed = plain.attention_norm(tokens)
    heads = [both(name, normed).unflatten(-1, (2, 8)).transpose(1, 2) for name in ("query", "key", "value")]
    read = functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
    tokens = tokens + both("output", read)
    return tokens + both("contract", functional.gelu(both("expand", plain.feed_forward_norm(tokens))))


@torch.no_grad()
def test_the_block_is_the_figure_with_two_paths_in_each_of_its_six_layers() -> None:
    block, plain, auxiliary = pathway_block()
    assert set(scales(block)) == {f"{name}.weight" for name in LAYERS}
    torch.testing.assert_close(block(TOKENS), by_two_paths(plain, auxiliary, TOKENS), rtol=0, atol=1e-12)
    assert (block(TOKENS) - plain(TOKENS)).abs().max() > 1e-2


@torch.no_grad()
def test_with_scales_at_zero_it_is_the_plain_block() -> None:
    block, plain, _ = pathway_block(0.0)
    assert torch.equal(block(TOKENS), plain(TOKENS))


@torch.no_grad()
def test_its_collapse_loads_strictly_into_the_plain_block_with_as_many_parameters() -> None:
    block, plain, _ = pathway_block()
    collapsed, report = collapse(block)
    fresh = MPTransformerBlock(16, heads=2).double().eval()
    fresh.load_state_dict(collapsed.state_dict(), strict=True)
    torch.testing.assert_close(fresh(TOKENS), block(TOKENS), rtol=0, atol=1e-12)
    assert report.parameters_after == sum(p.numel() for p in plain.parameters())


@torch.no_grad()
def test_single_linear_layers_can_be_the_auxiliary() -> None:
    block = MPTransformerBlock(16, heads=2, auxiliary={"expand": nn.Linear(16, 64)})
    assert list(scales(block)) == ["expand.weight"]


@pytest.mark.parametrize(
    ("auxiliary", "message"),
    [
        ({"proj": nn.Linear(16, 16)}, "a block has none"),
        ({"query": nn.Linear(16, 8)}, r"\(8, 16\)"),
        (MPTransformerBlock(8, heads=2), r"\(8, 8\)"),
    ],
)
def test_an_auxiliary_that_does_not_fit_is_refused_and_changes_nothing(auxiliary, message: str) -> None:
    block = MPTransformerBlock(16, heads=2)
    before = list(block.state_dict())
    with pytest.raises(UnsupportedModuleError, match=message):
        attach_to_block(block, auxiliary)
    assert list(block.state_dict()) == before


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(UnsupportedModuleError, match="3 heads"):
        MPTransformerBlock(16, heads=3)


@torch.no_grad()
def test_tokens_that_are_not_there_change_nothing() -> None:
    model = MPTransformer(11, length=6, classes=3, dim=16, heads=2).double().eval()
    ids = torch.tensor([[4, 2, 9, 0, 0, 0], [1, 0, 0, 0, 0, 0]])
    present = ids > 0
    other = torch.where(present, ids, 7)
    assert torch.equal(model(ids, present), model(other, present))
    assert not torch.equal(model(ids), model(other))


@torch.no_grad()
def test_a_row_without_tokens_is_finite_and_rows_do_not_depend_on_each_other() -> None:
    model = MPTransformer(11, length=4, classes=3, dim=16, heads=2).double().eval()
    ids = torch.tensor([[4, 2, 9, 0], [0, 0, 0, 0]])
    together = model(ids, ids > 0)
    assert together.isfinite().all()
    alone = torch.cat([model(ids[i : i + 1], ids[i : i + 1] > 0) for i in range(2)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)
    assert model(ids[:0], ids[:0] > 0).shape == (0, 3)


def test_a_classifier_tells_the_order_of_its_tokens_from_the_start() -> None:
    torch.manual_seed(0)
    model = MPTransformer(5, length=4, classes=3, dim=8, heads=2).eval()
    ids = torch.tensor([[1, 2, 3, 4]])
    assert (model(ids) - model(ids.flip(1))).abs().max() > 1e-3
    with torch.no_grad():
        model.positions.zero_()
    assert (model(ids) - model(ids.flip(1))).abs().max() < 1e-6
