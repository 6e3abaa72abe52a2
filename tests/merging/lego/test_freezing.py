"""What is frozen stays as it is, and an optimiser gets only what can change the scores."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.lego import LegoBlock, LegoFuse, LegoMerge, LegoSettings, live_parameters
from tests.merging.lego.small_blocks import every_pattern, small_block, small_blocks, small_inputs

NAMES = "abmn"


def backward(model: nn.Module, names: str = NAMES) -> None:
    patterns = every_pattern(len(names))
    inputs = small_inputs(names, rows=len(patterns))
    functional.cross_entropy(model(inputs, patterns), torch.arange(len(patterns)) % 3).backward()


def reached(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and parameter.grad.abs().max().item() > 1e-15


def trained(model: nn.Module, names: str = NAMES) -> nn.Module:
    optimiser = torch.optim.AdamW(live_parameters(model), lr=0.01, weight_decay=0.1)
    backward(model.train(), names)
    optimiser.step()
    return model


@pytest.mark.parametrize("order", ["stack", "weave"])
def test_live_parameters_are_exactly_those_that_gradients_reach(order: str) -> None:
    model = LegoFuse(small_blocks(NAMES), order=order)
    backward(model)
    live = {id(parameter) for parameter in live_parameters(model)}
    assert {name for name, p in model.named_parameters() if id(p) in live} == {
        name for name, p in model.named_parameters() if reached(p)
    }
    assert 0 < len(live) < len(list(model.parameters()))


def test_of_many_tokens_everything_is_live() -> None:
    block = small_block("b")
    assert len(live_parameters(block)) == len(list(block.parameters()))


@pytest.mark.parametrize("make", [LegoFuse, LegoMerge])
def test_a_frozen_block_is_left_as_it_is_by_training(make: type) -> None:
    model = make(small_blocks(NAMES))
    model.blocks["b"].freeze()
    before = copy.deepcopy(model.state_dict())
    trained(model)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(before[key], value)}
    assert not any(key.startswith("encoders.b.") for key in changed)
    assert any(key.startswith("encoders.a.") for key in changed)
    assert all(parameter.grad is None for parameter in model.blocks["b"].parameters())


def test_a_frozen_encoder_is_left_alone_and_the_rest_of_its_block_trained() -> None:
    model = LegoFuse(small_blocks(NAMES))
    model.blocks["b"].freeze("encoder")
    before = copy.deepcopy(model.blocks["b"].state_dict())
    trained(model)
    after = model.blocks["b"].state_dict()
    assert all(torch.equal(before[key], after[key]) for key in after if key.startswith("encoder."))
    assert not torch.equal(before["latent"], after["latent"])


@pytest.mark.parametrize(("part", "statistics_move"), [("block", False), ("encoder", False), (None, True)])
def test_a_frozen_encoders_running_statistics_do_not_move(part: str | None, statistics_move: bool) -> None:
    encoder = nn.Sequential(nn.Linear(3, 7), nn.BatchNorm1d(7))
    model = LegoFuse({"a": LegoBlock(encoder, LegoSettings(7, 3, latents=6, width=8))}).double()
    if part is not None:
        model.blocks["a"].freeze(part)
    model.train()(small_inputs("a"))
    assert torch.equal(encoder[1].running_mean, torch.zeros(7, dtype=torch.float64)) is not statistics_move


def test_a_frozen_block_drops_nothing_out_in_training_mode() -> None:
    block, values = small_block("b", dropout=0.5), small_inputs()["b"]
    expected = block(values)
    block.freeze()
    assert torch.equal(block.train()(values), expected)


def test_the_encoder_of_a_block_without_one_cannot_be_frozen() -> None:
    with pytest.raises(UnsupportedModuleError, match="freeze the block"):
        small_block("m").freeze("encoder")


def test_another_part_cannot_be_frozen_and_nothing_is() -> None:
    block = small_block("b")
    with pytest.raises(UnsupportedModuleError, match=r"part 'head'.*use block or encoder"):
        block.freeze("head")
    assert block.frozen is None
    assert all(parameter.requires_grad for parameter in block.parameters())
