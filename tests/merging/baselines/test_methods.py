"""What each baseline computes, against the same written down otherwise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from onepath.merging.baselines import MCAT, Ensemble, HEALNet, MultiModN, Perceiver, state_change_penalty
from onepath.merging.baselines.attention import LatentAttention
from onepath.merging.baselines.bilinear import GatedBilinear
from onepath.merging.baselines.settings import HEALNET, PERCEIVER
from onepath.merging.multimodal import run_dense
from tests.merging.baselines.small_baselines import (
    CLASSES,
    SMALL,
    THINKING,
    baseline,
    classifiers,
    inputs,
    settled,
    sources,
)


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def linear(layer: nn.Linear, values: np.ndarray) -> np.ndarray:
    bias = 0 if layer.bias is None else array(layer.bias)
    return values @ array(layer.weight).T + bias


def normed(values: np.ndarray, norm: nn.LayerNorm) -> np.ndarray:
    centred = values - values.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + norm.eps) * array(norm.weight) + array(norm.bias)


def naive_reading(attention: LatentAttention, latent: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Latents of one row after attending to its tokens, head by head."""
    query = linear(attention.query, normed(latent, attention.latent_norm))
    context = normed(tokens, attention.context_norm)
    key, value = linear(attention.key, context), linear(attention.value, context)
    size = query.shape[1] // attention.heads
    parts = []
    for head in range(attention.heads):
        here = slice(head * size, (head + 1) * size)
        scores = np.exp(query[:, here] @ key[:, here].T / np.sqrt(size))
        parts.append(scores / scores.sum(1, keepdims=True) @ value[:, here])
    return latent + linear(attention.output, np.concatenate(parts, 1))


def test_latents_attend_to_the_tokens_that_are_there_alone() -> None:
    attention = settled(LatentAttention(SMALL, 6, heads=2, gate=torch.selu))
    latent, tokens = torch.randn(3, 4, 8).double(), torch.randn(3, 5, 6).double()
    here = torch.tensor([[True] * 5, [False, True, False, True, True], [False] * 5])
    updated = attention(latent, tokens, here)
    for row in range(3):
        kept = array(tokens[row])[here[row].numpy()]
        read = naive_reading(attention, array(latent[row]), kept) if len(kept) else array(latent[row])
        read = torch.from_numpy(read)
        assert (updated[row] - read - attention.feed_forward(read)).abs().max() <= 1e-12
    assert (updated[1] - attention(latent, tokens)[1]).abs().max() > 1e-4


def test_bilinear_fusion_is_the_outer_product_of_gated_vectors_with_ones() -> None:
    fusion = settled(GatedBilinear(3, 4, width=5, rank=2))
    pair = [torch.randn(1, 3).double(), torch.randn(1, 4).double()]
    for present in ([True, True], [True, False], [False, True]):
        vectors = [vector * here for vector, here in zip(pair, present, strict=True)]
        both = np.concatenate([array(vector)[0] for vector in vectors])
        extended = []
        for index, vector in enumerate(vectors):
            gate = 1 / (1 + np.exp(-linear(fusion.gates[index], both)))
            content = np.maximum(linear(fusion.contents[index], array(vector)[0]), 0) * gate
            reduced = np.maximum(linear(fusion.reduced[index], content), 0) * present[index]
            extended.append(np.append(reduced, 1.0))
        hidden = np.maximum(linear(fusion.product, np.outer(*extended).ravel()), 0)
        expected = np.maximum(linear(fusion.output, hidden), 0)
        found = array(fusion(vectors, torch.tensor([present])))[0]
        assert np.abs(found - expected).max() <= 1e-12
        assert np.abs(found - expected[::-1]).max() > 1e-3


def test_an_ensemble_is_the_mean_of_the_logits() -> None:
    parts = {name: model.double() for name, model in classifiers().items()}
    values = inputs()
    expected = (parts["a"](values["a"]) + parts["b"](values["b"])) / 2
    assert (Ensemble(parts, CLASSES).double()(values) - expected).abs().max() <= 1e-15


def test_an_ensemble_of_one_present_classifier_is_that_classifier() -> None:
    parts = {name: model.double() for name, model in classifiers().items()}
    values, present = inputs(), torch.tensor([[False, True]]).expand(6, 2)
    found = Ensemble(parts, CLASSES).double()(values, present)
    assert torch.equal(found, parts["b"](values["b"]))
    assert not torch.allclose(found, parts["a"](values["a"]), atol=1e-2)


@pytest.mark.parametrize("kind", [Perceiver, HEALNet])
def test_shared_layers_are_counted_once_and_used_at_every_depth(kind: type) -> None:
    counts = {
        (depth, shared): sum(
            parameter.numel()
            for parameter in kind(sources(), CLASSES, replace(SMALL, depth=depth, share_layers=shared)).parameters()
        )
        for depth, shared in ((1, False), (3, True), (3, False))
    }
    assert counts[1, False] == counts[3, True] < counts[3, False]
    torch.manual_seed(0)
    once = settled(kind(sources(), CLASSES, replace(SMALL, depth=1, share_layers=True)))
    thrice = kind(sources(), CLASSES, replace(SMALL, depth=3, share_layers=True)).double().eval()
    thrice.load_state_dict(once.state_dict())
    assert (once(inputs()) - thrice(inputs())).abs().max() > 1e-3


@pytest.mark.parametrize("kind", [Perceiver, HEALNet])
def test_a_latent_tells_the_places_of_tokens_apart_by_their_features(kind: type) -> None:
    values = {"b": torch.randn(2, 3, 7).double()}
    turned = {"b": values["b"].flip(1)}
    for bands, tells in ((2, True), (0, False)):
        bag = {"b": replace(sources()["b"], encoder=nn.Identity())}
        model = settled(kind(bag, CLASSES, replace(THINKING, bands=bands)))
        difference = (model(values) - model(turned)).abs().max()
        assert (difference > 1e-4) == tells
        assert tells or difference <= 1e-12


def test_published_sizes_are_those_of_the_published_models() -> None:
    assert (HEALNET.latents, HEALNET.width, HEALNET.depth, HEALNET.self_per_cross) == (512, 512, 3, 1)
    assert (PERCEIVER.latents, PERCEIVER.width, PERCEIVER.self_per_cross) == (64, 64, 0)
    assert {(form.cross_heads, form.latent_heads, form.head_width) for form in (HEALNET, PERCEIVER)} == {(1, 8, 64)}


def test_multimodn_asks_its_decoder_after_every_step() -> None:
    model, values = settled(baseline("multimodn")), inputs()
    features = {name: model.encoders[name](tensor) for name, tensor in values.items()}
    present = torch.tensor([[True, True], [True, False], [False, True], [False, False], [True, True], [True, True]])
    scores = model.step_scores(features, present)
    assert scores.shape == (6, 3, CLASSES)
    assert torch.equal(scores[:, -1], model(values, present))
    assert (scores[:, 0] - model.decoder(model.state)).abs().max() <= 1e-12
    changed = scores.diff(dim=1).abs().amax(-1) > 0
    assert torch.equal(changed, present)


def test_the_state_change_penalty_is_the_mean_squared_step() -> None:
    states = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]], [[1.0, 1.0], [1.0, 2.0], [0.0, 2.0]]])
    assert state_change_penalty(states).item() == (25 + 0 + 1 + 1) / 4


def test_multimodn_updates_in_the_order_of_its_modalities() -> None:
    model = settled(baseline("multimodn"))
    turned = MultiModN(sources("ba"), CLASSES, width=8, hidden=12).double().eval()
    turned.load_state_dict(model.state_dict())
    values = inputs()
    assert (model(values) - turned(values)).abs().max() > 1e-4


def test_mcat_reads_a_bag_in_any_order_of_its_instances() -> None:
    bag = {"a": sources()["a"], "b": replace(sources()["b"], encoder=nn.Identity())}
    model = settled(MCAT(bag, CLASSES, width=8, heads=2, depth=1))
    values = {"a": inputs()["a"], "b": torch.randn(6, 3, 7).double()}
    turned = {**values, "b": values["b"].flip(1)}
    other = {**values, "b": values["b"].flip(2)}
    assert (model(values) - model(turned)).abs().max() <= 1e-12
    assert (model(values) - model(other)).abs().max() > 1e-3


@pytest.mark.parametrize("half", [0, 1])
def test_mcat_pools_tokens_by_attention(half: int) -> None:
    guide = {"a": replace(sources()["b"], encoder=nn.Identity()), "b": sources()["b"]}
    model = settled(MCAT(guide, CLASSES, width=8, heads=2, depth=1))
    values = {"a": torch.randn(6, 3, 7).double(), "b": inputs()["b"]}
    before = model(values)
    with torch.no_grad():
        model.halves[half].score.weight.mul_(-3)
    assert (before - model(values)).abs().max() > 1e-4


def test_mcat_without_a_guide_reads_the_bag_by_learned_tokens() -> None:
    model, values = settled(baseline("mcat")), inputs()
    without, complete = (torch.tensor([[here, True]]).expand(6, 2) for here in (False, True))
    before = {here: run_dense(model, values, present)["scores"] for here, present in ((0, without), (1, complete))}
    with torch.no_grad():
        model.unguided.add_(1.0)
    assert (before[0] - model(values, without)).abs().max() > 1e-5
    assert torch.equal(before[1], model(values, complete))
