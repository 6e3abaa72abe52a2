"""Different numbers of blocks are refused, unless a policy says what goes with what."""

import pytest
import torch

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization import plan_reparameterization, reparameterize
from onepath.merging.reparameterization.depths import Depth, block_pairs
from tests.merging.reparameterization.small_models import set_every_scale
from tests.merging.reparameterization.tiny_vit import TinyViT

LAYERS = [None, ["mlp.fc1"], {"blocks.{i}.mlp.fc1": "blocks.{i}.mlp.fc1"}]


def paired(mine: int, theirs: int, depth: Depth, layers: object = None) -> list[tuple[int, int]]:
    plan = plan_reparameterization(
        TinyViT(width=8, depth=mine), TinyViT(width=8, depth=theirs), layers=layers, depth=depth
    )
    pairs = [(pair.target, pair.auxiliary) for pair in plan.pairs if "fc1" in pair.target]
    return [(int(target.split(".")[1]), int(auxiliary.split(".")[1])) for target, auxiliary in pairs]


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize(
    ("mine", "theirs", "depth", "expected"),
    [
        (2, 2, "same", [(0, 0), (1, 1)]),
        (3, 2, "truncate", [(0, 0), (1, 1)]),
        (2, 3, "truncate", [(0, 0), (1, 1)]),
        (4, 2, "stretch", [(0, 0), (1, 0), (2, 1), (3, 1)]),
        (3, 6, "stretch", [(0, 0), (1, 2), (2, 5)]),
        (1, 3, "stretch", [(0, 0)]),
        (3, 3, "reverse", [(0, 2), (1, 1), (2, 0)]),
        (3, 2, {0: 1, 2: 1}, [(0, 1), (2, 1)]),
    ],
)
def test_a_policy_pairs_blocks_however_layers_are_chosen(
    mine: int, theirs: int, depth: Depth, expected: list[tuple[int, int]], layers: object
) -> None:
    assert paired(mine, theirs, depth, layers) == expected


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("depth", ["same", "reverse"])
@pytest.mark.parametrize(("mine", "theirs"), [(4, 2), (2, 4)])
def test_without_a_policy_different_depths_are_refused_with_both_numbers(
    mine: int, theirs: int, depth: Depth, layers: object
) -> None:
    message = f"the target has {mine} such blocks and the auxiliary {theirs}; choose depth="
    with pytest.raises(UnsupportedModuleError, match=message):
        paired(mine, theirs, depth, layers)


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        ({5: 0}, "the target has no block 5"),
        ({0: 7}, "the auxiliary has no block 7"),
        ("middle", "depth policy 'middle': it is unknown"),
        ({}, "the plan: it has no pairs"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(depth: Depth, message: str) -> None:
    with pytest.raises(UnsupportedModuleError, match=message):
        paired(2, 2, depth)


def test_as_many_blocks_of_other_indices_are_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match="the target's blocks are 0, 1 and the auxiliary's 1, 2"):
        block_pairs([0, 1], [1, 2], "same", name="x")


@torch.no_grad()
def test_one_auxiliary_block_may_serve_two_of_the_target() -> None:
    target, auxiliary = TinyViT(width=8, depth=2), TinyViT(width=8, depth=1)
    plain = [block.mlp.fc1.weight.clone() for block in target.blocks]
    reparameterize(target, auxiliary, depth="stretch")
    set_every_scale(target, 0.5)
    for block, before in zip(target.blocks, plain, strict=True):
        assert torch.equal(block.mlp.fc1.weight, before + 0.5 * auxiliary.blocks[0].mlp.fc1.weight)
