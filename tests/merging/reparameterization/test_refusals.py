"""What is refused, each with its message, before anything is changed.

The numbers are those of the list that the system was built from: 9 (another state than the plain class's), 10 (outputs
that differ) and 14 (code that goes past the weight) are found by a verification, and tested in test_verification.py.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse import collapse
from onepath.merging.reparameterization import (
    Pair,
    Plan,
    attach,
    collapse_in_place,
    collapsed_state_dict,
    plan_reparameterization,
    reparameterize,
    scales,
    verify,
)
from onepath.merging.reparameterization.parametrization import CrossModalWeight
from tests.merging.reparameterization.tiny_vit import TinyViT

FC1 = "blocks.0.mlp.fc1"
Spoil = Callable[[TinyViT], None]


@contextmanager
def refused(message: str, *untouched: nn.Module) -> Iterator[None]:
    """Expect a refusal that leaves these models as they are: names, classes, tensors and values."""
    before = [(snapshot(model), copy.deepcopy(dict(model.state_dict()))) for model in untouched]
    with pytest.raises(UnsupportedModuleError, match=message):
        yield
    for model, (parts, state) in zip(untouched, before, strict=True):
        assert snapshot(model) == parts
        assert all(same(state[key], value) for key, value in model.state_dict().items())


def snapshot(model: nn.Module) -> list[tuple[str, object, bool]]:
    parts = [(name, id(parameter), parameter.requires_grad) for name, parameter in model.named_parameters()]
    return parts + [(name, type(module), module.training) for name, module in model.named_modules()]


def same(before: Tensor, after: Tensor) -> bool:
    if before.is_meta:
        return after.is_meta
    return before.dtype is after.dtype and np.array_equal(before.numpy(), after.numpy(), equal_nan=True)


def test_a_changed_model_is_noticed() -> None:
    model = TinyViT(depth=1)

    def changing() -> None:
        with refused("on purpose", model):
            reparameterize(model, TinyViT(depth=1))
            raise UnsupportedModuleError("x", "on purpose", "nothing")

    with pytest.raises(AssertionError):
        changing()


# 1: no counterpart, or several


def encoder(width: int = 8, depth: int = 2) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True)
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False).eval()


def test_models_without_anything_in_common_are_refused_with_an_example() -> None:
    target = TinyViT(width=8)
    with refused(r"no linear layer has the same name, or a shape of its own, in both.*layers=", target):
        reparameterize(target, nn.Sequential(nn.Linear(3, 5)))


def test_a_layer_that_only_the_target_has_is_refused() -> None:
    target, auxiliary = TinyViT(width=8), TinyViT(width=8)
    del auxiliary.head
    with refused("head.*the auxiliary has no layer with a weight", target):
        reparameterize(target, auxiliary, layers=["head"])


def test_an_ambiguous_counterpart_is_refused_with_an_example() -> None:
    target, auxiliary = nn.Linear(4, 4), nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
    with refused(r"2 pairs of linear layers have its shape \(4, 4\).*layers=\{\"weight\": \"a\"\}", target):
        reparameterize(target, auxiliary)


def test_a_block_index_on_one_side_only_is_refused() -> None:
    target = TinyViT()
    with refused("only one of the two has", target):
        reparameterize(target, TinyViT(), layers={"blocks.{i}.mlp.fc1": "blocks.0.mlp.fc1"})


# 2: shapes


def test_different_widths_are_refused_with_both_layers_and_shapes() -> None:
    target = TinyViT(width=64)
    with refused(
        r"^cannot use blocks\.0\.attn\.qkv: the target's weight is \(192, 64\) and the auxiliary's "
        r"blocks\.0\.attn\.qkv is \(96, 32\); choose an auxiliary with the same width, "
        r"or leave the layer out with layers=\[…\]$",
        target,
    ):
        reparameterize(target, TinyViT(width=32))


def test_families_of_different_widths_are_refused_before_the_first_layer_is_changed() -> None:
    target = encoder(width=16)
    with refused(r"linear1: the target's weight is \(64, 16\) and the auxiliary's blocks\.0\.mlp\.fc1 is", target):
        reparameterize(target, TinyViT(width=8), roles=["fc1"])


def test_rows_of_different_numbers_are_refused() -> None:
    target = nn.Sequential(nn.Linear(4, 6))
    with refused(r"0\[0:2\]: the target's weight is \(2, 4\) and the auxiliary's 0\[0:3\] is \(3, 4\)", target):
        reparameterize(target, nn.Sequential(nn.Linear(4, 6)), layers={"0[0:2]": "0[0:3]"})


@pytest.mark.parametrize("rows", ["[4:9]", "[3:3]", "[3:2]"])
def test_rows_that_the_layer_does_not_have_are_refused(rows: str) -> None:
    target = nn.Sequential(nn.Linear(4, 6))
    with refused(r"it has 6 rows", target):
        reparameterize(target, nn.Sequential(nn.Linear(4, 6)), layers={f"0{rows}": "0[0:1]"})


def test_a_plan_for_another_model_is_refused() -> None:
    plan, target, other = plan_reparameterization(TinyViT(), TinyViT()), TinyViT(width=32), encoder()
    with refused("the plan says", target):
        attach(plan, target, TinyViT(width=32))
    with refused("no parameter of this path", other):
        attach(plan, other, TinyViT())


def test_a_plan_that_is_wrong_about_the_layout_is_refused() -> None:
    target = nn.Linear(3, 3)
    with refused("the plan says transposed=True", target):
        attach(Plan((Pair("weight", "weight", (3, 3), transposed=True),)), target, nn.Linear(3, 3))


# 3: numbers of blocks, see test_depths.py


@pytest.mark.parametrize("layers", [None, ["mlp.*"], {"blocks.{i}.mlp.fc1": "blocks.{i}.mlp.fc1"}])
def test_different_depths_are_refused_with_both_numbers(layers: object) -> None:
    target = TinyViT(depth=4)
    with refused("the target has 4 such blocks and the auxiliary 2", target):
        reparameterize(target, TinyViT(depth=2), layers=layers)


# 4: layers that are not linear in their weight; weights that are not dense floating-point tensors


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: nn.GRU(3, 3), "weight_ih_l0"),
        (lambda: nn.LSTMCell(3, 3), "weight_hh"),
        (lambda: nn.PReLU(3), "weight"),
        (lambda: nn.Embedding(5, 3, max_norm=1.0), "weight"),
    ],
)
def test_a_layer_that_is_not_linear_in_its_weight_is_refused(make: Callable[[], nn.Module], name: str) -> None:
    target = make()
    with refused("is not linear in its weight", target):
        reparameterize(target, make(), layers={name: name})


@pytest.mark.parametrize("make", [lambda: nn.Embedding(5, 3), lambda: nn.Conv2d(2, 3, 3), lambda: nn.LayerNorm(3)])
def test_other_layers_that_are_linear_in_their_weight_are_accepted(make: Callable[[], nn.Module]) -> None:
    assert len(reparameterize(make(), make(), layers={"weight": "weight"}).pairs) == 1


def quantised(model: TinyViT) -> None:
    model.blocks[0].mlp.fc1.weight = nn.Parameter(torch.zeros(256, 64, dtype=torch.int8), requires_grad=False)


def sparse(model: TinyViT) -> None:
    model.blocks[0].mlp.fc1.weight = nn.Parameter(torch.eye(256, 64).to_sparse())


def complex_(model: TinyViT) -> None:
    model.blocks[0].mlp.fc1.weight = nn.Parameter(torch.zeros(256, 64, dtype=torch.complex64))


def without_data(model: TinyViT) -> None:
    model.blocks[0].mlp.fc1.to("meta")


def of_eight_bits(model: TinyViT) -> None:
    layer = model.blocks[0].mlp.fc1
    layer.weight = nn.Parameter(layer.weight.data.to(torch.float8_e4m3fn), requires_grad=False)


def without_a_shape(model: TinyViT) -> None:
    model.blocks[0].mlp.fc1 = nn.LazyLinear(256)


# 5: weights that something else uses too


def tied(model: TinyViT) -> None:
    model.blocks[0].mlp.fc1.weight = model.blocks[1].mlp.fc1.weight


def used_twice(model: TinyViT) -> None:
    model.blocks[1].mlp.fc1 = model.blocks[0].mlp.fc1


def tied_outside_of_the_plan(model: TinyViT) -> None:
    model.embedding = nn.Embedding(256, 64)
    model.embedding.weight = model.blocks[0].mlp.fc1.weight


def overlapping_slices(model: TinyViT) -> None:
    first, second = model.blocks[0].mlp.fc1, model.blocks[1].mlp.fc1
    rows = first.weight.shape[0]
    whole = torch.randn(2 * rows - 1, first.weight.shape[1])
    first.weight, second.weight = nn.Parameter(whole[:rows]), nn.Parameter(whole[rows - 1 :])


def overlapping_storages(model: TinyViT) -> None:
    first, second = model.blocks[0].mlp.fc1, model.blocks[1].mlp.fc1
    rows, columns = first.weight.shape
    whole = np.ones((2 * rows - 1, columns), np.float32)
    first.weight = nn.Parameter(torch.from_numpy(whole[:rows]))
    second.weight = nn.Parameter(torch.from_numpy(whole[rows - 1 :]))


def tied_to_a_parametrised_one(model: TinyViT) -> None:
    model.blocks[1].mlp.fc1.weight = model.blocks[0].mlp.fc1.weight
    parametrizations.orthogonal(model.blocks[1].mlp.fc1, use_trivialization=False)


# 6: weights that something else parametrises


def weight_normed(model: TinyViT) -> None:
    parametrizations.weight_norm(model.blocks[0].mlp.fc1)


def pruned(model: TinyViT) -> None:
    prune.l1_unstructured(model.blocks[0].mlp.fc1, "weight", amount=0.5)


# 8: values that are not finite


def not_finite(model: TinyViT) -> None:
    model.blocks[0].mlp.fc1.weight.data[0, 0] = float("nan")


REFUSED_TARGETS = [
    (quantised, "the target's weight is int8"),
    (sparse, r"the target's weight is float32, torch\.sparse_coo"),
    (complex_, "the target's weight is complex64"),
    (of_eight_bits, "the target's weight is float8_e4m3fn"),
    (without_data, r"the target's weight has no data \(meta device\)"),
    (without_a_shape, "the target's weight has no data"),
    (tied, "shared with another layer"),
    (used_twice, "shared with another layer"),
    (tied_outside_of_the_plan, "shared with another layer"),
    (overlapping_slices, "shared with another layer"),
    (overlapping_storages, "shared with another layer"),
    (tied_to_a_parametrised_one, "shared with another layer"),
    (weight_normed, "already parametrised by something else"),
    (pruned, "already parametrised by something else: a hook computes it from weight_orig"),
    (not_finite, "the target's weight holds NaN"),
]


@pytest.mark.parametrize("layers", [None, ["mlp.fc1"], {FC1: FC1}])
@pytest.mark.parametrize(("spoil", "message"), REFUSED_TARGETS, ids=lambda case: getattr(case, "__name__", ""))
def test_a_target_that_cannot_be_treated_is_refused(spoil: Spoil, message: str, layers: object) -> None:
    target = TinyViT()
    spoil(target)
    with pytest.raises(UnsupportedModuleError, match=rf"{FC1}: .*{message}"):
        reparameterize(target, TinyViT(), layers=layers)
    assert not any(isinstance(module, CrossModalWeight) for module in target.modules())


@pytest.mark.parametrize(
    "spoil", [quantised, sparse, complex_, of_eight_bits, without_data, without_a_shape, not_finite]
)
def test_an_auxiliary_that_cannot_be_treated_is_refused(spoil: Spoil) -> None:
    target, auxiliary = TinyViT(), TinyViT()
    spoil(auxiliary)
    with refused("the auxiliary's weight", target):
        reparameterize(target, auxiliary)


# 7: collapsed already


def attached() -> tuple[nn.Sequential, CrossModalWeight]:
    target = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    reparameterize(target, nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)))
    return target, target[1].parametrizations.weight[0]


def test_a_second_collapse_is_refused() -> None:
    target, _ = attached()
    collapse_in_place(target)
    with refused("no auxiliary weights are attached", target):
        collapse_in_place(target)


# 8: values that are not finite, at the collapse


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e38])
def test_a_collapse_to_values_that_are_not_finite_is_refused(value: float) -> None:
    target, link = attached()
    link.auxiliary.data.fill_(1e3)
    link.scale.data.fill_(value)
    with refused("1: its collapsed weight has NaN or infinite values in torch.float32", target):
        collapse_in_place(target)


def test_an_auxiliary_that_overflows_the_targets_precision_is_refused() -> None:
    target, auxiliary = nn.Linear(2, 2).half(), nn.Linear(2, 2)
    auxiliary.weight.data[0, 0] = 1e6
    with refused(r"weight: the auxiliary's weight reaches 1e\+06, which float16 cannot hold", target):
        reparameterize(target, auxiliary)
    auxiliary.weight.data[0, 0] = 6e4
    assert reparameterize(target, auxiliary).pairs


def test_a_collapse_that_overflows_half_precision_is_refused() -> None:
    target, link = attached()
    link.scale.data.fill_(1e3)
    link.auxiliary.data.fill_(100.0)
    collapse(target)
    target.half()
    with refused("1: its collapsed weight has NaN or infinite values in torch.float16", target):
        collapse_in_place(target)


@pytest.mark.parametrize("whole", [collapsed_state_dict, lambda model: verify(model, model, [torch.ones(1, 3)])])
def test_a_model_that_cannot_be_copied_is_refused_with_another_way(whole: Callable[[nn.Module], object]) -> None:
    target, _ = attached()
    target.append(prune.l1_unstructured(nn.Linear(3, 3), "weight", amount=0.5))
    with refused("a Sequential: it cannot be copied.*prune.remove.*collapse_in_place", target):
        whole(target)
    assert len(collapse_in_place(target)) == 2


# 11: a λ that is not one number


class InputDependent(CrossModalWeight):
    """A λ that is no constant."""

    def forward(self, weight: Tensor) -> Tensor:
        return super().forward(weight) * weight.mean()


@pytest.mark.parametrize("whole", [collapse_in_place, collapse])
def test_a_scale_that_is_not_one_number_is_refused(whole: Callable[[nn.Module], object]) -> None:
    target, link = attached()
    link.scale = nn.Parameter(torch.ones(3))
    with refused(r"1: its scale λ is not one stored number: CrossModalWeight has one of shape \(3,\)", target):
        whole(target)


def test_a_scale_that_is_computed_is_refused() -> None:
    target, link = attached()
    link.__class__ = InputDependent
    with refused("1: its scale λ is not one stored number: InputDependent", target):
        collapse_in_place(target)


def test_a_scale_that_is_parametrised_is_refused() -> None:
    target, link = attached()
    nn.utils.parametrize.register_parametrization(link, "scale", nn.Tanh())
    with refused("1: its scale λ is not one stored number", target):
        collapse_in_place(target)


# 12: names that match nothing


@pytest.mark.parametrize(
    "layers",
    [
        ["attention.*"],
        {"blocks.{i}.nothing": "blocks.{i}.mlp.fc1"},
        {"blocks.{i}.mlp.fc1": "blocks.{i}.nothing"},
        {"nothing": "head"},
        {"head": "nothing"},
    ],
)
def test_a_name_that_matches_nothing_is_refused(layers: object) -> None:
    target = TinyViT()
    with refused(r"nothing|attention\.\*", target):
        reparameterize(target, TinyViT(), layers=layers)


def test_an_unknown_role_is_refused_with_the_known_ones() -> None:
    target = TinyViT()
    with refused("the role 'mlp': it is unknown; choose among qkv, q, k, v, out, fc1, fc2", target):
        reparameterize(target, TinyViT(), roles=["mlp"])


def test_roles_are_refused_where_they_mean_nothing() -> None:
    target = nn.Sequential(nn.Linear(2, 2))
    with refused("no blocks of a known family", target):
        reparameterize(target, nn.Sequential(nn.Linear(2, 2)), roles=["fc1"])
    with refused("layers and roles together", target):
        reparameterize(target, nn.Sequential(nn.Linear(2, 2)), roles=["fc1"], layers=["0"])


@pytest.mark.parametrize("whole", [plan_reparameterization, reparameterize])
def test_an_unknown_option_is_refused_rather_than_ignored(whole: Callable[..., object]) -> None:
    target = TinyViT()
    with refused("the option 'bias': it is unknown; choose among auxiliary_blocks, biases, depth", target):
        whole(target, TinyViT(), bias=True)


def test_an_unknown_depth_policy_is_refused_even_where_there_are_no_blocks() -> None:
    target = nn.Sequential(nn.Linear(2, 2))
    with refused("the depth policy 'strech': it is unknown", target):
        reparameterize(target, nn.Sequential(nn.Linear(2, 2)), depth="strech")


@pytest.mark.parametrize("option", ["target_blocks", "auxiliary_blocks"])
def test_block_lists_are_refused_beside_a_map_that_names_them_itself(option: str) -> None:
    target = TinyViT()
    with refused(f"layers as a map and {option} together", target):
        reparameterize(target, TinyViT(), layers={FC1: FC1}, **{option: "blocks"})


def test_an_unknown_training_is_refused_rather_than_taken_for_frozen() -> None:
    target = TinyViT()
    with refused("training='full': it is unknown; choose trainable or frozen", target):
        reparameterize(target, TinyViT(), training="full")


def test_a_pruned_layer_outside_of_the_blocks_does_not_matter_to_their_plan() -> None:
    target = TinyViT()
    prune.l1_unstructured(target.head, "weight", amount=0.5)
    assert len(reparameterize(target, TinyViT()).pairs) == 8
    with refused("head: its weight is already parametrised by something else", target):
        reparameterize(target, TinyViT(), layers=["head"])


def test_an_empty_plan_is_refused() -> None:
    target = TinyViT()
    with refused("no pairs", target):
        attach(Plan(()), target, TinyViT())


def test_one_weight_twice_in_a_plan_is_refused() -> None:
    target = TinyViT()
    plan = plan_reparameterization(target, TinyViT(), layers=["blocks.0.mlp.fc1"])
    with refused("the target of 2 pairs", target):
        attach(Plan(plan.pairs * 2), target, TinyViT())


@pytest.mark.parametrize("rows", [None, (1, 3)])
def test_one_row_twice_in_a_plan_is_refused(rows: tuple[int, int] | None) -> None:
    target = nn.Linear(4, 4)
    first = Pair("weight", "weight", (2, 4), target_rows=(0, 2), auxiliary_rows=(0, 2))
    second = Pair("weight", "weight", (2, 4) if rows else (4, 4), target_rows=rows, auxiliary_rows=rows)
    with refused("the target of 2 pairs of one plan", target):
        attach(Plan((first, second)), target, nn.Linear(4, 4))


# 13: target and auxiliary are one


def test_a_model_is_refused_as_its_own_auxiliary() -> None:
    model = TinyViT()
    with refused("the same object", model):
        reparameterize(model, model)


def test_an_auxiliary_that_shares_memory_with_the_target_is_refused() -> None:
    target, auxiliary = TinyViT(), TinyViT()
    auxiliary.blocks[0].mlp.fc1.weight = target.blocks[0].mlp.fc1.weight
    with refused("share this weight's memory", target):
        reparameterize(target, auxiliary)


def test_an_auxiliary_that_is_a_slice_over_the_targets_memory_is_refused() -> None:
    whole = torch.randn(5, 4)
    target, auxiliary = nn.Linear(4, 3), nn.Linear(4, 3)
    target.weight, auxiliary.weight = nn.Parameter(whole[:3]), nn.Parameter(whole[2:])
    with refused("share this weight's memory", target):
        reparameterize(target, auxiliary)


def test_slices_that_lie_side_by_side_in_one_storage_are_accepted() -> None:
    whole = torch.randn(6, 4)
    target, auxiliary = nn.Linear(4, 3), nn.Linear(4, 3)
    target.weight, auxiliary.weight = nn.Parameter(whole[:3]), nn.Parameter(whole[3:])
    assert len(reparameterize(target, auxiliary).pairs) == 1


def test_a_trainable_auxiliary_does_not_share_its_storage() -> None:
    target, auxiliary = TinyViT(), TinyViT()
    plan = plan_reparameterization(target, auxiliary)
    with refused("training would change the auxiliary model too", target, auxiliary):
        attach(plan, target, auxiliary, share_storage=True)


def test_storage_that_would_have_to_be_cast_or_joined_is_not_shared() -> None:
    target, auxiliary = nn.Linear(4, 4), nn.Linear(4, 4).double()
    plan = plan_reparameterization(target, auxiliary)
    with refused("shared storage for weight.*its precision or device is another", target):
        attach(plan, target, auxiliary, training="frozen", share_storage=True)
    halves = nn.ModuleList([nn.Linear(4, 2), nn.Linear(4, 2)])
    joined = plan_reparameterization(target, halves, layers={"weight[0:2]": "0", "weight[2:4]": "1"})
    joined = Plan(tuple(Pair(**(vars(pair) | {"scale": "one"})) for pair in joined.pairs))
    with refused("its rows come from several weights", target):
        attach(joined, target, halves, training="frozen", share_storage=True)


def test_scales_are_still_those_of_before_after_a_refused_second_attachment() -> None:
    target, link = attached()
    link.scale.data.fill_(0.5)
    with refused("the target's weight is", target):
        reparameterize(target, nn.Sequential(nn.Linear(3, 3), nn.Linear(2, 3)))
    assert scales(target) == {"0.weight": (0.0,), "1.weight": (0.5,)}
