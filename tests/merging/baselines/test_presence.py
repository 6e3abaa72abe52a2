"""Every baseline answers any row, whatever it lacks, and reads nothing where nothing is."""

import pytest
import torch
from torch import Tensor, nn

from onepath.merging.multimodal import run_dense
from tests.merging.baselines.small_baselines import MAKERS, TOKENS, baseline, every_pattern, inputs, settled

KINDS = list(MAKERS)
EXACT_WITHOUT = ("ensemble", "perceiver", "healnet", "multimodn")


def with_noise_where_absent(values: dict[str, Tensor], present: Tensor) -> dict[str, Tensor]:
    noise = {name: torch.randn_like(tensor) * 50 for name, tensor in values.items()}
    return {
        name: torch.where(present[:, column : column + 1], tensor, noise[name])
        for column, (name, tensor) in enumerate(values.items())
    }


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_in_an_absent_place_changes_nothing(kind: str) -> None:
    model, present, values = settled(baseline(kind)), every_pattern(), inputs(8)
    other = with_noise_where_absent(values, present)
    assert torch.equal(model(values, present), model(other, present))
    assert not torch.allclose(model(values)[present.all(1).logical_not()], model(other)[~present.all(1)], atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_nan_in_an_absent_place_reaches_no_answer(kind: str) -> None:
    model, present, values = settled(baseline(kind)), every_pattern(), inputs(8)
    holes = {name: values[name].masked_fill(~present[:, [column]], torch.nan) for column, name in enumerate("ab")}
    assert torch.equal(model(values, present), model(holes, present))
    assert not model(holes).isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_only_present_values_have_a_gradient_and_each_of_them_has_one(kind: str) -> None:
    model, present = settled(baseline(kind)), every_pattern()
    values = {name: tensor.requires_grad_() for name, tensor in inputs(8).items()}
    model(values, present).square().sum().backward()
    moved = torch.stack([tensor.grad.abs().sum(1) > 0 for tensor in values.values()], dim=1)
    assert torch.equal(moved, present)


SHIFTS_EVERY_SCORE_ALIKE = ("key.bias", "score.bias")


@pytest.mark.parametrize("kind", KINDS)
def test_no_weight_is_dead(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TOKENS, "a", 2)  # of one token alone, attention has nothing to choose
    model = settled(baseline(kind))
    model(inputs(8), every_pattern()).square().sum().backward()
    moved = {
        name: parameter.grad is not None and bool(parameter.grad.any()) for name, parameter in model.named_parameters()
    }
    assert [name for name in moved if not moved[name] and not name.endswith(SHIFTS_EVERY_SCORE_ALIKE)] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["a", "b"])
def test_the_values_of_each_modality_matter(kind: str, name: str) -> None:
    model, values = settled(baseline(kind)), inputs()
    changed = {**values, name: values[name] + 0.5}
    assert ((model(values) - model(changed)).abs().amax(1) > 1e-4).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_answered_alone_as_among_others(kind: str) -> None:
    model, present, values = settled(baseline(kind)), every_pattern(), inputs(8)
    together = model(values, present)
    alone = [model({name: v[[row]] for name, v in values.items()}, present[[row]]) for row in range(8)]
    assert (together - torch.cat(alone)).abs().max() <= 1e-12
    assert (together - torch.cat(alone).roll(4, 0)).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_give_no_logits(kind: str) -> None:
    assert settled(baseline(kind))(inputs(0)).shape == (0, 3)


def without(model: nn.Module, kind: str, name: str) -> nn.Module:
    """The same baseline of one modality alone, with the weights that concern it."""
    alone = baseline(kind, name).double().eval()
    state = model.state_dict()
    taken = {key: state[_place(key, name) if kind == "healnet" else key] for key in alone.state_dict()}
    alone.load_state_dict(taken)
    return alone


def _place(key: str, name: str) -> str:
    """Where a HEALNet of both modalities, which has a step for each depth and modality, keeps a weight of one."""
    part, _, rest = key.removeprefix("steps.").partition(".")
    return f"steps.{2 * int(part) + 'ab'.index(name)}.{rest}" if key.startswith("steps.") else key


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("kind", EXACT_WITHOUT)
def test_a_row_without_a_modality_gets_what_a_model_without_it_computes(kind: str, name: str) -> None:
    model, values = settled(baseline(kind)), inputs()
    present = torch.tensor([[name == "a", name == "b"]]).expand(6, 2)
    expected = without(model, kind, name)({name: values[name]})
    assert (model(values, present) - expected).abs().max() <= 1e-12
    assert (model(values) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_task_s_own_output_is_scores(kind: str) -> None:
    model, values = settled(baseline(kind)), inputs()
    outputs = run_dense(model, values, torch.ones(6, 2, dtype=torch.bool))
    assert list(outputs) == ["scores"]
    assert torch.equal(outputs["scores"], model(values))
