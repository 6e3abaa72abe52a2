"""Fused and separate queries, keys and values; rows of a weight; weights that are kept transposed."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse import collapse
from onepath.merging.reparameterization import (
    Pair,
    Plan,
    attach,
    collapse_in_place,
    plan_from_json,
    plan_reparameterization,
    reparameterize,
    scales,
)
from onepath.merging.reparameterization.rows import add_to_rows
from tests.merging.reparameterization.small_models import model, set_every_scale

pytestmark = pytest.mark.usefixtures("vision_ops")

FUSED, SPLIT = "blocks.{i}.attn.qkv.weight", "layers.{i}.attention.{p}_proj.weight"


def split_paths(block: int) -> list[str]:
    return [SPLIT.format(i=block, p=part) for part in "qkv"]


def models() -> SimpleNamespace:
    made = SimpleNamespace(fused=model("timm_vit"), split=model("vit", seed=1))
    made.fused_state = {key: value.clone() for key, value in made.fused.state_dict().items()}
    made.split_state = {key: value.clone() for key, value in made.split.state_dict().items()}
    return made


def scale_parameters(made: nn.Module) -> list[nn.Parameter]:
    return [parameter for name, parameter in made.named_parameters() if name.endswith(".scale")]


def test_separate_projections_are_added_to_the_rows_of_a_fused_one() -> None:
    both = models()
    reparameterize(both.fused, both.split)
    set_every_scale(both.fused, 0.5)
    for block in range(2):
        added = torch.cat([both.split_state[path] for path in split_paths(block)])
        expected = both.fused_state[FUSED.format(i=block)] + 0.5 * added
        assert torch.equal(both.fused.blocks[block].attn.qkv.weight, expected)
        assert not torch.equal(expected, both.fused_state[FUSED.format(i=block)])


def test_the_rows_of_a_fused_projection_are_added_to_separate_ones() -> None:
    both = models()
    reparameterize(both.split, both.fused)
    set_every_scale(both.split, 0.5)
    attention = both.split.layers[1].attention
    for index, (part, path) in enumerate(zip("qkv", split_paths(1), strict=True)):
        rows = both.fused_state[FUSED.format(i=1)][32 * index : 32 * (index + 1)]
        assert torch.equal(getattr(attention, f"{part}_proj").weight, both.split_state[path] + 0.5 * rows)


def test_a_fused_projection_has_one_scale_and_one_auxiliary_tensor() -> None:
    both = models()
    reparameterize(both.fused, both.split, roles=["qkv"])
    assert len(scale_parameters(both.fused)) == 2
    assert scales(both.fused) == {FUSED.format(i=block): (0.0,) for block in range(2)}


def test_separate_projections_have_a_scale_each() -> None:
    both = models()
    reparameterize(both.split, both.fused, roles=["qkv"])
    assert len(scale_parameters(both.split)) == 6


def test_each_projection_may_have_its_scale_where_one_layer_makes_them() -> None:
    fused, other = model("timm_vit"), model("timm_vit", seed=1)
    plain, added = fused.blocks[0].attn.qkv.weight.detach().clone(), other.blocks[0].attn.qkv.weight
    reparameterize(fused, other, layers=["attn.qkv"], scale_per="projection")
    links = fused.blocks[0].attn.qkv.parametrizations.weight
    for link, value in zip(links, (0.5, 0.0, -2.0), strict=True):
        link.scale.data.fill_(value)
    factors = torch.tensor([0.5, 0.0, -2.0]).repeat_interleave(32).unsqueeze(1)
    assert torch.equal(fused.blocks[0].attn.qkv.weight, plain + factors * added)
    assert scales(fused)[FUSED.format(i=0)] == (0.5, 0.0, -2.0)


def gradients_of_tied(tied: bool) -> tuple[nn.Module, list[Tensor]]:
    both = models()
    reparameterize(both.split, both.fused, roles=["qkv"], scale_per="attention" if tied else "layer")
    attention = both.split.layers[0].attention
    loss = sum((getattr(attention, f"{part}_proj").weight.square().sum() for part in "qkv"), torch.zeros(()))
    loss.backward()
    return both.split, [parameter.grad for parameter in scale_parameters(both.split) if parameter.grad is not None]


def test_projections_may_share_a_scale_whose_gradient_is_the_sum_of_theirs() -> None:
    model_of_three, apart = gradients_of_tied(tied=False)
    model_of_one, together = gradients_of_tied(tied=True)
    assert (len(scale_parameters(model_of_three)), len(scale_parameters(model_of_one))) == (6, 2)
    assert (len(apart), len(together)) == (3, 1)
    torch.testing.assert_close(together[0], sum(apart[1:], apart[0]))
    assert not torch.allclose(together[0], apart[0])


@pytest.mark.parametrize("cast", [torch.float64, torch.float16])
def test_a_shared_scale_stays_shared_when_the_model_is_cast_or_copied(cast: torch.dtype) -> None:
    both = models()
    reparameterize(both.split, both.fused, roles=["qkv"], scale_per="attention")
    set_every_scale(both.split, 0.1)
    both.split.to(cast)
    assert len(scale_parameters(both.split)) == 2
    before = [parameter.item() for parameter in scale_parameters(both.split)]
    assert set(before) == {torch.tensor(0.1).item()}
    assert len(scale_parameters(collapse(both.split)[0])) == 0
    assert len(scale_parameters(both.split)) == 2


def test_a_plan_with_shared_scales_prints_and_survives_json() -> None:
    both = models()
    plan = plan_reparameterization(both.split, both.fused, roles=["qkv"], scale_per="attention")
    assert plan_from_json(plan.to_json()) == plan
    assert str(plan).splitlines()[:2] == [
        "layers.0.attention.q_proj.weight += λ · blocks.0.attn.qkv.weight[0:32] (32, 32)",
        "layers.0.attention.k_proj.weight += λ[layers.0.attention.q_proj.weight] · blocks.0.attn.qkv.weight[32:64] "
        "(32, 32)",
    ]


def test_scales_of_projections_need_models_whose_projections_are_known() -> None:
    with pytest.raises(UnsupportedModuleError, match="no pair is known to be of queries"):
        plan_reparameterization(nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2)), scale_per="attention")
    with pytest.raises(UnsupportedModuleError, match=r"scale_per='head'.*unknown"):
        plan_reparameterization(model("bert"), model("vit"), scale_per="head")


def test_a_transposed_auxiliary_is_added_transposed() -> None:
    target, auxiliary = model("bert"), model("gpt2", seed=1)
    plain = {key: value.clone() for key, value in target.state_dict().items()}
    plan = reparameterize(target, auxiliary)
    set_every_scale(target, 0.5)
    assert all(pair.transposed for pair in plan.pairs)
    name = "encoder.layer.1.attention.self.key"
    columns = auxiliary.h[1].attn.c_attn.weight[:, 32:64]
    assert torch.equal(target.get_submodule(name).weight, plain[f"{name}.weight"] + 0.5 * columns.T)
    name = "encoder.layer.0.intermediate.dense"
    assert torch.equal(
        target.get_submodule(name).weight, plain[f"{name}.weight"] + 0.5 * auxiliary.h[0].mlp.c_fc.weight.T
    )


def test_a_transposed_target_gets_separate_projections_in_its_columns() -> None:
    target, auxiliary = model("gpt2"), model("bert", seed=1)
    plain = target.h[0].attn.c_attn.weight.detach().clone()
    reparameterize(target, auxiliary)
    set_every_scale(target, 0.5)
    own = auxiliary.encoder.layer[0].attention.self
    added = torch.cat([own.query.weight.T, own.key.weight.T, own.value.weight.T], dim=1)
    assert torch.equal(target.h[0].attn.c_attn.weight, plain + 0.5 * added)


def test_two_transposed_layers_are_added_as_they_are() -> None:
    plan = plan_reparameterization(model("gpt2"), model("gpt2", seed=1))
    assert not any(pair.transposed for pair in plan.pairs)


def test_rows_are_named_in_brackets() -> None:
    target, auxiliary = nn.Sequential(nn.Linear(4, 6)), nn.Sequential(nn.Linear(4, 9))
    plan = reparameterize(target, auxiliary, layers={"0[1:3]": "0[7:9]"})
    plain = target[0].parametrizations.weight.original.detach().clone()
    set_every_scale(target, 2.0)
    expected = plain.clone()
    expected[1:3] += 2.0 * auxiliary[0].weight[7:9]
    assert torch.equal(target[0].weight, expected)
    assert (plan.pairs[0].target_rows, plan.pairs[0].auxiliary_rows) == ((1, 3), (7, 9))


def test_projections_are_named_by_letters_in_patterns_too() -> None:
    both = models()
    layers = {f"blocks.{{i}}.attn.qkv[{part}]": f"layers.{{i}}.attention.{part}_proj" for part in "qkv"}
    by_hand = plan_reparameterization(both.fused, both.split, layers=layers)
    by_family = plan_reparameterization(both.fused, both.split, roles=["qkv"])
    assert set(by_hand.pairs) == set(by_family.pairs)


def test_rows_of_several_auxiliaries_weights_join_into_one_tensor_only_if_they_share_a_scale() -> None:
    target, auxiliary = nn.Linear(2, 6), nn.ModuleList([nn.Linear(2, 3), nn.Linear(2, 3)])
    apart = Pair("weight", "1.weight", (3, 2), target_rows=(3, 6), scale="second")
    plan = Plan((Pair("weight", "0.weight", (3, 2), target_rows=(0, 3)), apart))
    attach(plan, target, auxiliary)
    assert [link.rows for link in target.parametrizations.weight] == [(0, 3), (3, 6)]
    assert len(scale_parameters(target)) == 2


@pytest.mark.parametrize(
    ("sizes", "reason"), [((4, 12, 4), None), ((4, 8, 4), "it has 8 rows for 4 inputs"), ((4, 13, 4), "13 rows for 4")]
)
def test_only_three_blocks_of_rows_are_read_as_queries_keys_and_values(
    sizes: tuple[int, int, int], reason: str | None
) -> None:
    inputs, rows, outputs = sizes
    target, auxiliary = nn.Sequential(nn.Linear(inputs, outputs)), nn.Sequential(nn.Linear(inputs, rows))
    if reason is None:
        plan = plan_reparameterization(target, auxiliary, layers={"0": "0[k]"})
        assert plan.pairs[0].auxiliary_rows == (4, 8)
        return
    with pytest.raises(UnsupportedModuleError, match=reason):
        plan_reparameterization(target, auxiliary, layers={"0": "0[k]"})


def test_a_projection_that_interleaves_heads_is_not_cut() -> None:
    interleaved = nn.ModuleDict({"query_key_value": nn.Linear(4, 12)})
    with pytest.raises(UnsupportedModuleError, match="interleaves the rows of its heads"):
        plan_reparameterization(nn.Sequential(nn.Linear(4, 4)), interleaved, layers={"0": "query_key_value[q]"})


@settings(max_examples=20, deadline=None)
@given(first=st.integers(0, 4), size=st.integers(1, 3), axis=st.integers(0, 1), factor=st.floats(-4, 4, width=32))
def test_adding_to_rows_is_indexed_addition(first: int, size: int, axis: int, factor: float) -> None:
    weight = torch.arange(49.0).reshape(7, 7)
    addend = torch.full((size, 7) if axis == 0 else (7, size), factor)
    expected = weight.numpy().copy()
    expected[(slice(None),) * axis + (slice(first, first + size),)] += factor
    assert torch.equal(add_to_rows(weight, addend, (first, first + size), axis=axis), torch.from_numpy(expected))


def test_collapsing_rows_changes_no_other_row() -> None:
    target, auxiliary = nn.Linear(4, 6, dtype=torch.bfloat16), nn.Linear(4, 6)
    plain = target.weight.detach().clone()
    reparameterize(target, auxiliary, layers={"weight[2:4]": "weight[0:2]"})
    set_every_scale(target, 0.3)
    (folded,) = collapse_in_place(target)
    kept = [0, 1, 4, 5]
    assert torch.equal(target.weight[kept], plain[kept])
    assert not torch.equal(target.weight[2:4], plain[2:4])
    assert folded.weight == "weight"
