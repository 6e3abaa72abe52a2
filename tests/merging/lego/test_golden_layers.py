"""The layers give what the published ones gave."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from onepath.merging.lego.fourier import fourier
from onepath.merging.lego.layers import ATTENTION_TEMPERATURE, LEAK, GatedFeedForward, attended, attention_scale
from tests.merging.golden import largest_difference, mm_lego, wide

COVERS = ("u.fft.*", "u.tsoftmax.*", "u.attn.*", "u.ff.*")
TOLERANCE = 1e-9
HEADS = 8


def read(value: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    query = wide("u.attn.x") @ wide("u.attn.q_w").T
    key = wide("u.attn.ctx") @ wide("u.attn.kv_w")[:512].T
    return attended(query, key, value, HEADS, scale=attention_scale(64), bias=bias)


def output(bias: torch.Tensor | None = None) -> torch.Tensor:
    values = wide("u.attn.ctx") @ wide("u.attn.kv_w")[512:].T
    return functional.leaky_relu(read(values, bias) @ wide("u.attn.o_w").T + wide("u.attn.o_b"), LEAK)


def mask() -> torch.Tensor:
    keep = torch.from_numpy(mm_lego()["u.attn.mask"])[:, None, None]
    return torch.where(keep, 0.0, -torch.inf).double()


def test_the_transform_is_the_published_one() -> None:
    result = fourier(wide("u.fft.x"))
    assert largest_difference(result.real, mm_lego()["u.fft.real"]) <= TOLERANCE
    assert largest_difference(result.imag, mm_lego()["u.fft.imag"]) <= TOLERANCE


def test_attention_has_the_published_temperature() -> None:
    scores, keys = wide("u.tsoftmax.x"), torch.eye(5, dtype=torch.float64).expand(2, 5, 5)
    result = attended(scores, keys, keys, 1, scale=1 / ATTENTION_TEMPERATURE)
    assert largest_difference(result, mm_lego()["u.tsoftmax.T0.5"]) <= TOLERANCE
    assert largest_difference(attended(scores, keys, keys, 1, scale=1), mm_lego()["u.tsoftmax.T0.5"]) > 1e-2


def test_attention_gives_the_published_output() -> None:
    assert largest_difference(output(), mm_lego()["u.attn.out"]) <= TOLERANCE


def test_attention_leaves_masked_keys_out_as_published() -> None:
    assert largest_difference(output(mask()), mm_lego()["u.attn.out_masked"]) <= TOLERANCE
    assert largest_difference(output(), mm_lego()["u.attn.out_masked"]) > 1e-3


def test_attention_over_one_hot_values_gives_the_published_probabilities() -> None:
    one_hot = torch.eye(3, dtype=torch.float64).repeat(1, HEADS).expand(2, 3, 3 * HEADS)
    probabilities = read(one_hot, mask()).reshape(2, 4, HEADS, 3).transpose(1, 2).reshape(16, 4, 3)
    assert largest_difference(probabilities, mm_lego()["u.attn.probs"]) <= TOLERANCE


@pytest.mark.parametrize(("gate", "other"), [("selu", "gelu"), ("gelu", "selu")])
def test_the_gated_feed_forward_is_the_published_one(gate: str, other: str) -> None:
    layer = GatedFeedForward(4, 0.0, gate=getattr(functional, gate)).double()
    layer.norm = nn.Identity()  # the published arrays are those of the part after the norm
    with torch.no_grad():
        for target, key in zip(layer.parameters(), ("w1", "b1", "w2", "b2"), strict=True):
            target.copy_(wide(f"u.ff.{gate}.{key}"))
    assert largest_difference(layer(wide("u.ff.x")), mm_lego()[f"u.ff.{gate}.out"]) <= TOLERANCE
    assert largest_difference(layer(wide("u.ff.x")), mm_lego()[f"u.ff.{other}.out"]) > 1e-3
