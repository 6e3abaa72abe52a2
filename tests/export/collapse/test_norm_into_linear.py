"""A norm's gain and bias into what reads it: every class and key stays, and the norm is left with ones and zeros."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from onepath.export.collapse import collapse
from tests.export.collapse.small_networks import TOLERANCE, normal, randomised, relative_error

RULES = ["norm_into_linear"]


class Attention(nn.Module):
    """Two layers read one norm, and a packed attention another."""

    def __init__(self, norm: type[nn.Module] = nn.LayerNorm) -> None:
        super().__init__()
        self.before, self.between = norm(8), norm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.up, self.gate, self.down = nn.Linear(8, 5), nn.Linear(8, 5), nn.Linear(5, 8)

    def forward(self, values: Tensor) -> Tensor:
        normed = self.before(values)
        values = values + self.attention(normed, normed, normed, need_weights=False)[0]
        normed = self.between(values)
        return values + self.down(self.up(normed) * functional.silu(self.gate(normed)))


MODELS = {
    "layer norm": (lambda: nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 5)), (3, 8)),
    "without a bias": (lambda: nn.Sequential(nn.LayerNorm(8, bias=False), nn.Linear(8, 5, bias=False)), (3, 8)),
    "rms norm": (lambda: nn.Sequential(nn.RMSNorm(8), nn.Linear(8, 5, bias=False)), (3, 4, 8)),
    "through a dropout": (lambda: nn.Sequential(nn.LayerNorm(8), nn.Dropout(), nn.Linear(8, 5)), (3, 8)),
    "several readers": (Attention, (2, 4, 8)),
    "several readers of rms": (lambda: Attention(nn.RMSNorm), (2, 4, 8)),
    "torch's own layer": (
        lambda: nn.TransformerEncoderLayer(8, 2, 12, norm_first=True, batch_first=True),
        (2, 4, 8),
    ),
    "torch's own stack": (
        lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 12, norm_first=True), 2, enable_nested_tensor=False
        ),
        (4, 2, 8),
    ),
}


def norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, (nn.LayerNorm, nn.RMSNorm))]


@pytest.mark.parametrize("name", MODELS)
def test_the_folded_model_equals_the_model(name: str) -> None:
    make, shape = MODELS[name]
    model, values = randomised(make()), normal(*shape)
    collapsed, report = collapse(model, rules=RULES)
    assert relative_error(collapsed(values), model(values)) <= TOLERANCE
    assert len(report.layers) == len(norms(model))


@pytest.mark.parametrize("name", MODELS)
def test_every_key_stays_and_the_norms_are_left_with_ones_and_zeros(name: str) -> None:
    model = randomised(MODELS[name][0]())
    collapsed, _ = collapse(model, rules=RULES)
    copy.deepcopy(model).load_state_dict(collapsed.state_dict(), strict=True)
    for norm in norms(collapsed):
        assert (norm.weight == 1).all()
        assert getattr(norm, "bias", None) is None or not norm.bias.any()


def test_a_fold_by_hand_that_leaves_the_bias_out_would_be_seen() -> None:
    model, values = randomised(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 5))), normal(3, 8)
    norm, linear = model
    plain = functional.layer_norm(values, (8,))
    for shift, passes in [(linear.weight @ norm.bias, True), (0, False)]:
        folded = functional.linear(plain, linear.weight * norm.weight, linear.bias + shift)
        assert (relative_error(folded, model(values)) <= TOLERANCE) is passes


class Cross(nn.Module):
    """An attention that reads the norm as its query alone."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2)

    def forward(self, values: Tensor) -> Tensor:
        return self.attention(self.norm(values), values, values)[0]


LEFT = {
    "it has a bias, and 1 has none": lambda: nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 5, bias=False)),
    "it is over (4, 8)": lambda: nn.Sequential(nn.LayerNorm((4, 8)), nn.Linear(8, 5)),
    "it is read by 1, a ReLU": lambda: nn.Sequential(nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 5)),
    "attention takes something else too": Cross,
}


@pytest.mark.parametrize("reason", LEFT)
def test_a_norm_that_cannot_be_folded_is_left_with_the_reason(reason: str) -> None:
    collapsed, report = collapse(model := randomised(LEFT[reason]()), rules=RULES)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in collapsed.state_dict().items())
    assert reason in report.left[0].reason


def test_the_relative_change_is_that_of_the_gain() -> None:
    model = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 5)).double()
    model[0].weight.data.fill_(1.5)
    (entry,) = collapse(model, rules=RULES)[1].layers
    assert entry.relative_change == pytest.approx(0.5)


def test_folding_again_finds_nothing() -> None:
    once, _ = collapse(randomised(Attention()), rules=RULES)
    assert collapse(once, rules=RULES)[1].layers == ()


def test_it_is_not_among_the_rules_of_a_plain_collapse() -> None:
    assert collapse(randomised(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 5))))[1].layers == ()


def test_the_blocks_of_a_vit_of_timm_are_folded(vision_ops: object) -> None:
    import timm

    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=3)
    model, values = randomised(vit, 0, nn.LayerNorm), normal(2, 3, 32, 32)
    collapsed, report = collapse(model, rules=RULES)
    assert len(report.layers) == 4
    assert relative_error(collapsed(values), model(values)) <= TOLERANCE
