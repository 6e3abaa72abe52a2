"""What the linear layers of a block are called in the transformers that people use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onepath.merging.reparameterization.plan import Role


@dataclass(frozen=True)
class Family:
    """Models whose blocks have the same layer names.

    Attributes:
        name: for messages.
        layers: path of a layer, or of a parameter, from the block, by what it does there. Either `qkv`, whose rows are
            those of q, then k, then v, or the three by themselves.
    """

    name: str
    layers: Mapping[Role, str]


def _split(pattern: str, names: tuple[str, str, str]) -> dict[Role, str]:
    roles: tuple[Role, ...] = ("q", "k", "v")
    return {role: pattern.format(name) for role, name in zip(roles, names, strict=True)}


_PROJECTIONS = ("q_proj", "k_proj", "v_proj")
_WORDS = ("query", "key", "value")

FAMILIES: tuple[Family, ...] = (
    # timm's ViT, MAE, AudioMAE, the video ViT of VideoMAE v2, Point-MAE
    Family("ViT", {"qkv": "attn.qkv", "out": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}),
    # nn.TransformerEncoder
    Family(
        "TransformerEncoder",
        {"qkv": "self_attn.in_proj_weight", "out": "self_attn.out_proj", "fc1": "linear1", "fc2": "linear2"},
    ),
    # transformers 5: ViT, DeiT, AST, ViTMAE, Dinov2
    Family(
        "transformers' ViT",
        {**_split("attention.{}", _PROJECTIONS), "out": "attention.o_proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"},
    ),
    # transformers 4: ViT, DeiT, AST, ViTMAE; VideoMAE in 4 and 5
    Family(
        "transformers' VideoMAE",
        {
            **_split("attention.attention.{}", _WORDS),
            "out": "attention.output.dense",
            "fc1": "intermediate.dense",
            "fc2": "output.dense",
        },
    ),
    # transformers 4: Dinov2
    Family(
        "transformers' Dinov2",
        {
            **_split("attention.attention.{}", _WORDS),
            "out": "attention.output.dense",
            "fc1": "mlp.fc1",
            "fc2": "mlp.fc2",
        },
    ),
    # BERT, RoBERTa
    Family(
        "BERT",
        {
            **_split("attention.self.{}", _WORDS),
            "out": "attention.output.dense",
            "fc1": "intermediate.dense",
            "fc2": "output.dense",
        },
    ),
    Family(
        "DistilBERT",
        {
            **_split("attention.{}", ("q_lin", "k_lin", "v_lin")),
            "out": "attention.out_lin",
            "fc1": "ffn.lin1",
            "fc2": "ffn.lin2",
        },
    ),
    # both towers of CLIP
    Family(
        "CLIP",
        {**_split("self_attn.{}", _PROJECTIONS), "out": "self_attn.out_proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"},
    ),
    Family(
        "Wav2Vec2",
        {
            **_split("attention.{}", _PROJECTIONS),
            "out": "attention.out_proj",
            "fc1": "feed_forward.intermediate_dense",
            "fc2": "feed_forward.output_dense",
        },
    ),
    Family("GPT-2", {"qkv": "attn.c_attn", "out": "attn.c_proj", "fc1": "mlp.c_fc", "fc2": "mlp.c_proj"}),
)
