"""Real small transformers with random weights, and inputs for each; the fixture `vision_ops` comes before them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

WIDTH, DEPTH, HEADS, HIDDEN = 32, 2, 4, 128
_SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "intermediate_size": HIDDEN,
}
_PICTURE = {"image_size": 16, "patch_size": 8}
_WORDS = {"vocab_size": 50, "pad_token_id": 0}
Inputs = dict[str, Tensor]


def of_transformers(model: str, config: str, **settings: Any) -> nn.Module:
    import transformers

    return getattr(transformers, model)(getattr(transformers, config)(**settings)).eval()


def timm_vit(**settings: Any) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    sizes = {"img_size": 16, "patch_size": 8, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS, "num_classes": 3}
    return VisionTransformer(**(sizes | settings)).eval()


def torch_encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, batch_first=True, dropout=0.0)
    return nn.TransformerEncoder(layer, DEPTH, enable_nested_tensor=False).eval()


def clip() -> nn.Module:
    text = {**_SIZES, **_WORDS, "bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 16}
    return of_transformers(
        "CLIPModel", "CLIPConfig", text_config=text, vision_config={**_SIZES, **_PICTURE}, projection_dim=8
    )


MODELS: dict[str, Callable[[], nn.Module]] = {
    "timm_vit": timm_vit,
    "torch": torch_encoder,
    "vit": partial(of_transformers, "ViTModel", "ViTConfig", **_SIZES, **_PICTURE),
    "deit": partial(of_transformers, "DeiTModel", "DeiTConfig", **_SIZES, **_PICTURE),
    "mae": partial(of_transformers, "ViTMAEModel", "ViTMAEConfig", **_SIZES, **_PICTURE, mask_ratio=0.0),
    "dinov2": partial(of_transformers, "Dinov2Model", "Dinov2Config", **_SIZES, **_PICTURE, mlp_ratio=4),
    "ast": partial(of_transformers, "ASTModel", "ASTConfig", **_SIZES, patch_size=8, max_length=32, num_mel_bins=16),
    "videomae": partial(of_transformers, "VideoMAEModel", "VideoMAEConfig", **_SIZES, **_PICTURE, num_frames=2),
    "bert": partial(of_transformers, "BertModel", "BertConfig", **_SIZES, **_WORDS),
    "roberta": partial(of_transformers, "RobertaModel", "RobertaConfig", **_SIZES, **_WORDS),
    "distilbert": partial(
        of_transformers,
        "DistilBertModel",
        "DistilBertConfig",
        **_WORDS,
        dim=WIDTH,
        n_layers=DEPTH,
        n_heads=HEADS,
        hidden_dim=HIDDEN,
    ),
    "clip": clip,
    "wav2vec2": partial(
        of_transformers,
        "Wav2Vec2Model",
        "Wav2Vec2Config",
        **_SIZES,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        conv_dim=(8,),
        conv_kernel=(4,),
        conv_stride=(2,),
        num_feat_extract_layers=1,
    ),
    "gpt2": partial(
        of_transformers,
        "GPT2Model",
        "GPT2Config",
        n_embd=WIDTH,
        n_layer=DEPTH,
        n_head=HEADS,
        vocab_size=50,
        n_positions=16,
        bos_token_id=0,
        eos_token_id=0,
    ),
}


def model(name: str, seed: int = 0) -> nn.Module:
    """Return the model of a family, every parameter moved off its start, so that no bias is zero."""
    torch.manual_seed(seed)
    made = MODELS[name]()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def inputs(name: str, dtype: torch.dtype = torch.float32) -> Inputs:
    """Return what a model of a family is called with."""
    torch.manual_seed(7)
    picture = torch.randn(2, 3, 16, 16, dtype=dtype)
    words = torch.randint(3, 50, (2, 6))
    special = {
        "timm_vit": {"x": picture},
        "torch": {"src": torch.randn(2, 5, WIDTH, dtype=dtype)},
        "mae": {"pixel_values": picture, "noise": torch.rand(2, 4)},
        "ast": {"input_values": torch.randn(2, 32, 16, dtype=dtype)},
        "videomae": {"pixel_values": torch.randn(2, 2, 3, 16, 16, dtype=dtype)},
        "wav2vec2": {"input_values": torch.randn(2, 64, dtype=dtype)},
        "clip": {"input_ids": words, "pixel_values": picture},
    }
    is_text = name in ("bert", "roberta", "distilbert", "gpt2")
    return special.get(name, {"input_ids": words} if is_text else {"pixel_values": picture})


@torch.no_grad()
def output(made: nn.Module, given: Inputs) -> Tensor:
    """Return a model's output as one flat tensor."""
    result = made(**given)
    if isinstance(result, Tensor):
        return result.flatten()
    parts = [result[key] for key in ("last_hidden_state", "text_embeds", "image_embeds") if key in result]
    return torch.cat([part.flatten() for part in parts])


def set_every_scale(made: nn.Module, value: float) -> None:
    """Set all λ of a model."""
    for name, parameter in made.named_parameters():
        if name.endswith(".scale"):
            parameter.data.fill_(value)
