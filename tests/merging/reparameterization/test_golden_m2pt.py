"""Our re-parameterisation gives what the published one gave, and not what a faulty merge gave."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from onepath.merging.reparameterization import (
    collapse_in_place,
    collapsed_state_dict,
    plan_reparameterization,
    reparameterize,
)
from tests.merging.golden import largest_difference, m2pt
from tests.merging.reparameterization.tiny_vit import (
    LAYERS,
    TinyViT,
    golden_input,
    golden_state,
    golden_vit,
    set_scales,
)

COVERS_M2PT = (
    *("vit/target/*", "vit/aux/*", "vit/merged/*", "vit/aux2/*", "vit/x", "vit/layer_names", "vit/lambdas*"),
    *("vit/y_target_plain", "vit/y_aux_plain", "vit/y_lambda0", "vit/y_reparam", "vit/y_two_matmul"),
    *("vit/y_merged", "vit/y_merged_f64", "vit/y_two_aux_merged", "vit/tokens_after_block?", "vit/forward_features"),
    *("vit/grad_cotangent", "vit/grad_lambda*/dlambda", "vit/grad_lambda*/dW_norms", "vit/grad_lambda*/dAux_norms"),
    *("vit/grad_lambda*/dW_blocks.0.attn.proj", "vit/grad_lambda*/dbias_blocks.0.attn.proj"),
    *("vit/grad_lambda*/dAux_blocks.0.attn.proj_norm", "vit/sgd_trace/loss", "vit/sgd_trace/lambdas"),
    *("linear/W", "linear/b", "linear/aux_W", "linear/aux_b", "linear/lambda", "linear/x", "linear/y_official"),
    *("linear/W_merged", "linear/kg_merged_W", "linear/kg_merged_b"),
    *("linear/y_kg_module_after_merge_DOUBLE_COUNT", "linear/y_kg_original_linear_after_merge_BIAS_SHIFTED"),
    *("hfvit/last_hidden_merged", "bert/target/*", "bert/aux_vit/*", "bert/pairs", "bert/lambdas"),
    *("bert/input_ids", "bert/attention_mask", "bert/y_plain_*", "bert/y_merged_*"),
)
TOLERANCE = 1e-6


def attached(scales: bool = True) -> TinyViT:
    model = golden_vit("target")
    reparameterize(model, golden_vit("aux"))
    if scales:
        set_scales(model, m2pt()["vit/lambdas"])
    return model


def logits(model: nn.Module) -> torch.Tensor:
    return model(golden_input())


@pytest.mark.parametrize("role", ["target", "aux"])
def test_the_plain_models_give_the_published_logits(role: str) -> None:
    assert largest_difference(logits(golden_vit(role)), m2pt()[f"vit/y_{role}_plain"]) <= TOLERANCE


def test_the_default_plan_is_the_published_layers_in_order() -> None:
    plan = plan_reparameterization(golden_vit("target"), golden_vit("aux"))
    assert [pair.target for pair in plan.pairs] == [f"{name}.weight" for name in m2pt()["vit/layer_names"]]


def test_with_scales_at_zero_the_logits_are_the_plain_ones_to_the_last_bit() -> None:
    assert torch.equal(logits(attached(scales=False)), logits(golden_vit("target")))


def test_with_scales_at_zero_the_logits_are_the_published_ones() -> None:
    assert largest_difference(logits(attached(scales=False)), m2pt()["vit/y_lambda0"]) <= TOLERANCE


def test_with_scales_the_logits_are_the_published_ones() -> None:
    assert largest_difference(logits(attached()), m2pt()["vit/y_reparam"]) <= TOLERANCE
    assert largest_difference(logits(attached()), m2pt()["vit/y_two_matmul"]) <= TOLERANCE


def test_with_scales_every_stage_gives_the_published_tokens() -> None:
    model, stages = attached(), {}
    for name, module in (("tokens_after_block0", model.blocks[0]), ("tokens_after_block1", model.blocks[1])):
        module.register_forward_hook(lambda _module, _inputs, tokens, name=name: stages.update({name: tokens}))
    model.norm.register_forward_hook(lambda _module, _inputs, tokens: stages.update(forward_features=tokens))
    logits(model)
    for name, tokens in stages.items():
        assert largest_difference(tokens, m2pt()[f"vit/{name}"]) <= 4e-6, name
    assert len(stages) == 3


def test_the_published_class_itself_gives_the_published_logits(vision_ops: object) -> None:
    from timm.models.vision_transformer import VisionTransformer

    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 4, "num_classes": 10}
    target, auxiliary = VisionTransformer(**sizes).eval(), VisionTransformer(**sizes)
    target.load_state_dict(golden_state("vit/target/"), strict=True)
    auxiliary.load_state_dict(golden_state("vit/aux/"), strict=True)
    reparameterize(target, auxiliary)
    set_scales(target, m2pt()["vit/lambdas"])
    assert largest_difference(logits(target), m2pt()["vit/y_reparam"]) <= TOLERANCE
    collapse_in_place(target)
    assert largest_difference(logits(target), m2pt()["vit/y_merged"]) <= TOLERANCE


def test_the_scales_change_the_logits() -> None:
    assert largest_difference(logits(attached()), m2pt()["vit/y_target_plain"]) > 1e-2


def test_the_collapsed_weights_are_the_published_ones_to_the_last_bit() -> None:
    state, _ = collapsed_state_dict(attached())
    for key, value in (golden_state("vit/target/") | golden_state("vit/merged/")).items():
        assert torch.equal(state[key], value), key


def test_a_sum_rounded_only_once_would_not_give_these_bits() -> None:
    key = "blocks.0.mlp.fc2.weight"
    scale = float(m2pt()["vit/lambdas"].astype(np.float32)[3])
    exact = golden_state("vit/target/")[key].double() + scale * golden_state("vit/aux/")[key].double()
    assert not torch.equal(exact.float(), golden_state("vit/merged/")[key])


def test_the_collapsed_state_loads_strictly_and_gives_the_attached_logits() -> None:
    model = attached()
    state, _ = collapsed_state_dict(model)
    plain = TinyViT().eval()
    plain.load_state_dict(state, strict=True)
    assert torch.equal(logits(plain), logits(model))
    assert largest_difference(logits(plain), m2pt()["vit/y_merged"]) <= TOLERANCE


def test_in_float64_the_collapsed_logits_are_the_published_ones() -> None:
    target, auxiliary = golden_vit("target").double(), golden_vit("aux").double()
    reparameterize(target, auxiliary)
    set_scales(target, m2pt()["vit/lambdas"].astype(np.float32))
    collapse_in_place(target)
    assert largest_difference(target(golden_input().double()), m2pt()["vit/y_merged_f64"]) <= 1e-9


def test_two_auxiliaries_add_up_as_derived() -> None:
    model, second = attached(), golden_vit("aux")
    second.load_state_dict(golden_state("vit/aux2/"), strict=False)
    reparameterize(model, second)
    set_scales(model, m2pt()["vit/lambdas2"], link=1)
    assert largest_difference(logits(model), m2pt()["vit/y_two_aux_merged"]) <= TOLERANCE
    collapse_in_place(model)
    assert largest_difference(logits(model), m2pt()["vit/y_two_aux_merged"]) <= TOLERANCE


@pytest.mark.parametrize(("case", "scales"), [("grad_lambda0", False), ("grad_lambda", True)])
def test_the_gradients_are_the_published_ones(case: str, scales: bool) -> None:
    model = attached(scales)
    cotangent = torch.from_numpy(m2pt()["vit/grad_cotangent"])
    (logits(model) * cotangent).sum().backward()
    chains = [model.get_submodule(str(name)).parametrizations.weight for name in m2pt()["vit/layer_names"]]
    found = {
        "dlambda": [chain[0].scale.grad.item() for chain in chains],
        "dW_norms": [chain.original.grad.norm().item() for chain in chains],
        "dAux_norms": [chain[0].auxiliary.grad.norm().item() for chain in chains],
    }
    projection = model.blocks[0].attn.proj
    found |= {
        "dW_blocks.0.attn.proj": projection.parametrizations.weight.original.grad.numpy(),
        "dbias_blocks.0.attn.proj": projection.bias.grad.numpy(),
        "dAux_blocks.0.attn.proj_norm": [projection.parametrizations.weight[0].auxiliary.grad.norm().item()],
    }
    for name, values in found.items():
        np.testing.assert_allclose(values, m2pt()[f"vit/{case}/{name}"], rtol=1e-4, atol=1e-5, err_msg=name)


def test_five_steps_of_descent_leave_the_published_trace() -> None:
    model = attached(scales=False)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    losses, scales = [], []
    for _ in range(5):
        optimiser.zero_grad()
        loss = logits(model).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        chains = [model.get_submodule(str(name)).parametrizations.weight for name in m2pt()["vit/layer_names"]]
        scales.append([chain[0].scale.item() for chain in chains])
    np.testing.assert_allclose(losses, m2pt()["vit/sgd_trace/loss"], rtol=1e-4)
    np.testing.assert_allclose(scales, m2pt()["vit/sgd_trace/lambdas"], rtol=1e-3, atol=1e-6)


def one_layer() -> nn.Linear:
    arrays = m2pt()
    layer, auxiliary = nn.Linear(24, 16), nn.Linear(24, 16)
    for linear, prefix in ((layer, ""), (auxiliary, "aux_")):
        linear.weight.data = torch.from_numpy(arrays[f"linear/{prefix}W"]).clone()
        linear.bias.data = torch.from_numpy(arrays[f"linear/{prefix}b"]).clone()
    reparameterize(layer, auxiliary, layers={"weight": "weight"})
    layer.parametrizations.weight[0].scale.data.fill_(arrays["linear/lambda"].item())
    return layer


def test_one_layer_collapses_to_the_published_weight_and_keeps_its_bias() -> None:
    layer = one_layer()
    collapse_in_place(layer)
    assert np.array_equal(layer.weight.detach().numpy(), m2pt()["linear/W_merged"])
    assert np.array_equal(layer.bias.detach().numpy(), m2pt()["linear/b"])
    assert not np.allclose(layer.bias.detach().numpy(), m2pt()["linear/kg_merged_b"], atol=1e-3)


def test_the_faulty_merge_has_our_weight_and_another_bias_by_the_auxiliarys() -> None:
    layer, arrays = one_layer(), m2pt()
    collapse_in_place(layer)
    assert np.array_equal(layer.weight.detach().numpy(), arrays["linear/kg_merged_W"])
    shift = arrays["linear/kg_merged_b"] - layer.bias.detach().numpy()
    np.testing.assert_allclose(shift, arrays["linear/lambda"] * arrays["linear/aux_b"], rtol=0, atol=TOLERANCE)
    assert np.abs(shift).max() > 1e-2


@pytest.mark.parametrize("collapses", [False, True])
def test_one_layer_gives_the_right_output_and_none_of_the_faulty_ones(collapses: bool) -> None:
    layer, arrays = one_layer(), m2pt()
    if collapses:
        collapse_in_place(layer)
    output = layer(torch.from_numpy(arrays["linear/x"]))
    assert largest_difference(output, arrays["linear/y_official"]) <= TOLERANCE
    for faulty in ("module_after_merge_DOUBLE_COUNT", "original_linear_after_merge_BIAS_SHIFTED"):
        assert largest_difference(output, arrays[f"linear/y_kg_{faulty}"]) > 1e-2


def test_listed_layers_are_the_published_default() -> None:
    pair = golden_vit("target"), golden_vit("aux")
    assert plan_reparameterization(*pair, layers=LAYERS) == plan_reparameterization(*pair)


def of_transformers(model: str, config: str, **settings: Any) -> nn.Module:
    import transformers

    return getattr(transformers, model)(getattr(transformers, config)(**settings)).eval()


def split_vit() -> nn.Module:
    """The golden target in the Hugging Face class, whose queries, keys and values are separate."""
    model = of_transformers(
        "ViTModel",
        "ViTConfig",
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        image_size=32,
        patch_size=8,
        layer_norm_eps=1e-6,
    )
    state, own = golden_state("vit/target/"), model.state_dict()
    names = {"attention.o_proj": "attn.proj", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    names |= {"layernorm_before": "norm1", "layernorm_after": "norm2"}
    for kind in ("weight", "bias"):
        own[f"embeddings.patch_embeddings.projection.{kind}"] = state[f"patch_embed.proj.{kind}"]
        own[f"layernorm.{kind}"] = state[f"norm.{kind}"]
        for block in range(2):
            for mine, theirs in names.items():
                own[f"layers.{block}.{mine}.{kind}"] = state[f"blocks.{block}.{theirs}.{kind}"]
            for part, rows in zip("qkv", state[f"blocks.{block}.attn.qkv.{kind}"].chunk(3), strict=True):
                own[f"layers.{block}.attention.{part}_proj.{kind}"] = rows
    own |= {"embeddings.cls_token": state["cls_token"], "embeddings.position_embeddings": state["pos_embed"]}
    model.load_state_dict({key: value for key, value in own.items() if not key.startswith("pooler")}, strict=False)
    return model


@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_separate_projections_that_share_a_scale_give_the_hidden_states_of_the_fused_model(
    vision_ops: object, tied: bool
) -> None:
    model = split_vit()
    plan = reparameterize(model, golden_vit("aux"), scale_per="attention" if tied else "layer")
    golden = dict(zip(m2pt()["vit/layer_names"].tolist(), m2pt()["vit/lambdas"].tolist(), strict=True))
    firsts = [pair for pair in plan.pairs if pair.role in ("q", "out", "fc1", "fc2")]
    for pair in firsts:  # the scales of k and v stay at zero, unless they are the one of q
        layer = model.get_submodule(pair.target.removesuffix(".weight"))
        layer.parametrizations.weight[0].scale.fill_(golden[pair.auxiliary.removesuffix(".weight")])
    collapse_in_place(model)
    error = largest_difference(model(golden_input()).last_hidden_state, m2pt()["hfvit/last_hidden_merged"])
    assert (error <= 2e-6) is tied
    assert error > 1e-2 or tied


def golden_bert() -> tuple[nn.Module, nn.Module]:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    target = of_transformers(
        "BertModel", "BertConfig", **sizes, vocab_size=50, max_position_embeddings=16, hidden_dropout_prob=0.0
    )
    target.load_state_dict(golden_state("bert/target/"), strict=True)
    auxiliary = of_transformers("ViTModel", "ViTConfig", **sizes, image_size=16, patch_size=8)
    auxiliary.load_state_dict(golden_state("bert/aux_vit/"), strict=False)
    return target, auxiliary


def bert_outputs(model: nn.Module) -> dict[str, torch.Tensor]:
    names = ("input_ids", "attention_mask")
    with torch.no_grad():
        result = model(**{name: torch.from_numpy(m2pt()[f"bert/{name}"]) for name in names})
    return {"last": result.last_hidden_state, "pooled": result.pooler_output}


def test_a_text_model_is_paired_with_a_vision_model_as_derived(vision_ops: object) -> None:
    plan = plan_reparameterization(*golden_bert())
    assert [f"{pair.target} <- {pair.auxiliary}" for pair in plan.pairs] == m2pt()["bert/pairs"].tolist()


def test_a_text_model_with_a_vision_auxiliary_gives_the_derived_outputs(vision_ops: object) -> None:
    model, auxiliary = golden_bert()
    plan = reparameterize(model, auxiliary)
    outputs = bert_outputs(model)
    for name in ("last", "pooled"):
        assert largest_difference(outputs[name], m2pt()[f"bert/y_plain_{name}"]) <= TOLERANCE
    for pair, value in zip(plan.pairs, m2pt()["bert/lambdas"].tolist(), strict=True):
        layer = model.get_submodule(pair.target.removesuffix(".weight"))
        layer.parametrizations.weight[0].scale.data.fill_(value)
    collapsed = copy.deepcopy(model)
    collapse_in_place(collapsed)
    for outputs in (bert_outputs(model), bert_outputs(collapsed)):
        for name in ("last", "pooled"):
            assert largest_difference(outputs[name], m2pt()[f"bert/y_merged_{name}"]) <= 2e-6
        assert largest_difference(outputs["last"], m2pt()["bert/y_plain_last"]) > 0.1
