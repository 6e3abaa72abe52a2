"""What `verify` lets pass, and what it catches."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from onepath.contract.errors import ParityError, UnsupportedModuleError
from onepath.merging.reparameterization import random_inputs, reparameterize, verify
from onepath.merging.reparameterization import verification as module
from onepath.merging.reparameterization.parametrization import CrossModalWeight
from tests.merging.reparameterization import small_models
from tests.merging.reparameterization.tiny_vit import TinyViT


def set_scales(model: nn.Module, value: float) -> None:
    for part in model.modules():
        if isinstance(part, CrossModalWeight):
            part.scale.data.fill_(value)


def vit(seed: int) -> TinyViT:
    torch.manual_seed(seed)
    return TinyViT(width=8, depth=2).double()


def attached(value: float = 0.3) -> TinyViT:
    model = vit(0)
    reparameterize(model, vit(1))
    set_scales(model, value)
    return model


IMAGES = random_inputs((1, 3, 32, 32), (3, 3, 32, 32), dtype=torch.float64)


def test_a_right_collapse_passes_at_the_rounding_of_float64_with_every_scale_at_work() -> None:
    found = verify(attached(), vit(5), IMAGES)
    assert found.error <= 1e-13
    assert found.tolerance == 1e-10
    assert len(found.weights) == 8
    assert all(entry.two_product_error <= 1e-13 and min(entry.effects) > 0 for entry in found.weights)


def test_the_models_stay_as_they_were() -> None:
    model, plain = attached().train(), vit(5)
    before = copy.deepcopy(model.state_dict()), copy.deepcopy(plain.state_dict())
    verify(model, plain, IMAGES)
    for state, part in zip(before, (model, plain), strict=True):
        assert all(torch.equal(state[name], value) for name, value in part.state_dict().items())
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_in_float32_the_tolerance_is_wider() -> None:
    found = verify(attached().float(), vit(5).float(), [image.float() for image in IMAGES])
    assert found.tolerance == 1e-5
    assert found.error <= 1e-6


def test_a_scale_one_percent_off_in_the_collapse_is_caught(monkeypatch) -> None:
    right = module.collapsed_state_dict

    def wrong(model: nn.Module):
        off = copy.deepcopy(model)
        off.blocks[1].mlp.fc1.parametrizations.weight[0].scale.data.mul_(1.01)
        return right(off)

    monkeypatch.setattr(module, "collapsed_state_dict", wrong)
    with pytest.raises(ParityError, match="the collapse changed the result"):
        verify(attached(), vit(5), IMAGES)


def test_a_bias_shifted_by_the_collapse_is_caught(monkeypatch) -> None:
    right = module.collapsed_state_dict

    def shifted(model: nn.Module):
        state, folded = right(model)
        state["head.bias"] = state["head.bias"] + 1e-6
        return state, folded

    monkeypatch.setattr(module, "collapsed_state_dict", shifted)
    with pytest.raises(ParityError):
        verify(attached(), vit(5), IMAGES)


def test_a_layer_that_does_not_compute_two_products_is_caught(monkeypatch) -> None:
    model = attached()
    monkeypatch.setattr(CrossModalWeight, "added_to", lambda self, weight: weight + 1.001 * self.scale * self.auxiliary)
    with pytest.raises(ParityError, match=r"second path.*blocks\.0\.attn\.qkv"):
        module._checked_weights(copy.deepcopy(model), IMAGES, module._output, 1e-10)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (lambda: TinyViT(width=8, depth=3).double(), r"keys differ"),
        (lambda: TinyViT(width=16, depth=2).double(), r"cls_token.*\(1, 1, 8\).*\(1, 1, 16\)"),
        (lambda: TinyViT(width=8, depth=2), r"cls_token.*float64.*float32"),
    ],
)
def test_a_collapsed_state_that_is_not_the_plain_models_is_refused(plain, message: str) -> None:
    with pytest.raises(UnsupportedModuleError, match=message):
        verify(attached(), plain(), IMAGES)


class KeepsItsWeight(nn.Module):
    """Attention that took its weight once, when it was built, and goes past what is attached later."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24, bias=False)
        self.out = nn.Linear(8, 8)
        self.taken = [self.qkv.weight.detach().clone()]

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = functional.linear(tokens, self.taken[0]).chunk(3, dim=-1)
        return self.out(functional.scaled_dot_product_attention(query, key, value))


def test_code_that_goes_past_the_weight_is_refused_by_name() -> None:
    model, plain, auxiliary = (keeps_its_weight(seed) for seed in (0, 0, 1))
    reparameterize(model, auxiliary)
    with pytest.raises(UnsupportedModuleError, match="qkv: moving its λ changes no output"):
        verify(model, plain, random_inputs((2, 3, 8), dtype=torch.float64))


def keeps_its_weight(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = KeepsItsWeight().double()
    model.taken[0] = model.taken[0].double()
    return model


def test_the_fast_path_of_torchs_encoder_is_no_bypass() -> None:
    def encoder(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).double()

    model = encoder(0)
    reparameterize(model, encoder(1))
    set_scales(model, 0.3)
    found = verify(model, encoder(2), random_inputs((2, 3, 8), (1, 5, 8), dtype=torch.float64))
    assert len(found.weights) == 8


def test_code_that_detaches_the_weight_is_no_bypass() -> None:
    class Detaches(nn.Linear):
        def forward(self, values: Tensor) -> Tensor:
            return functional.linear(values, self.weight.detach(), self.bias)

    model, auxiliary = nn.Sequential(Detaches(4, 4)).double(), nn.Sequential(Detaches(4, 4)).double()
    reparameterize(model, auxiliary)
    found = verify(model, nn.Sequential(Detaches(4, 4)).double(), random_inputs((2, 4), dtype=torch.float64))
    assert found.weights[0].effects[0] > 1e-3


def test_a_layer_that_is_bypassed_is_named_although_its_bias_has_the_same_scale() -> None:
    class KeepsItsMatrix(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
            self.taken = [self.first.weight.detach().clone()]

        def forward(self, values: Tensor) -> Tensor:
            return self.second(functional.linear(values, self.taken[0].to(values.dtype), self.first.bias))

    torch.manual_seed(0)
    model, auxiliary = KeepsItsMatrix(), KeepsItsMatrix()
    plain = copy.deepcopy(model)
    reparameterize(model, auxiliary, biases=True)
    set_scales(model, 0.3)
    with pytest.raises(UnsupportedModuleError, match="first: moving its λ changes no output"):
        verify(model, plain, random_inputs((2, 4)))
    assert verify(attached_to_the_second(model), plain, random_inputs((2, 4))).weights[0].weight == "second.weight"


def attached_to_the_second(like: nn.Module) -> nn.Module:
    model = type(like)()
    model.taken = like.taken
    reparameterize(model, type(like)(), layers=["second"], biases=True)
    set_scales(model, 0.3)
    return model


def test_a_scale_that_layers_share_is_checked_for_each_of_them() -> None:
    model = vit(0)
    reparameterize(model, vit(1), biases=True)
    set_scales(model, 0.3)
    found = verify(model, vit(5), IMAGES)
    effects = {entry.weight: entry.effects for entry in found.weights}
    assert len(effects) == 16
    assert effects["blocks.0.mlp.fc1.weight"] != effects["blocks.0.mlp.fc2.weight"]


def test_a_bias_of_keys_that_no_attention_can_notice_is_no_bypass(vision_ops) -> None:
    model, auxiliary = small_models.model("vit"), small_models.model("vit", 1)
    reparameterize(model, auxiliary, biases=True)
    set_scales(model, 0.3)
    found = verify(model, small_models.model("vit", 2), [small_models.inputs("vit")])
    assert len(found.weights) == 24


def test_the_first_of_named_outputs_is_compared(vision_ops) -> None:
    model = small_models.model("vit")
    reparameterize(model, small_models.model("bert", 1))
    set_scales(model, 0.3)
    wrong = small_models.model("vit", 2)
    assert verify(model, wrong, [small_models.inputs("vit")]).error <= 1e-6
    wrong.config.layer_norm_eps = 0.5
    wrong.layernorm.eps = 0.5
    with pytest.raises(ParityError):
        verify(model, wrong, [small_models.inputs("vit")])


def test_without_inputs_nothing_is_proved() -> None:
    with pytest.raises(UnsupportedModuleError, match="no inputs"):
        verify(attached(), vit(5), [])


def test_random_inputs_depend_on_their_seed_alone() -> None:
    assert torch.equal(random_inputs((2, 3))[0], random_inputs((2, 3))[0])
    assert not torch.equal(random_inputs((2, 3))[0], random_inputs((2, 3), seed=1)[0])
