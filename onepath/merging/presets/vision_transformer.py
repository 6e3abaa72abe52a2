"""The transformer of images, spectrograms and clips: tokens, positions, blocks, one vector a row, logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from onepath.merging.encoders.pixels import CastInput
from onepath.merging.presets.batch_norm import BatchNorm
from onepath.merging.presets.masking import TokenMasking, take_tokens
from onepath.merging.presets.positions import SinusoidPositions, grid_positions
from onepath.merging.presets.tokenizers import Patches
from onepath.merging.presets.transformer import TransformerSettings, draw_weights, transformer_blocks

Pooling = Literal["mean", "class"]
Positions = Literal["learned", "frozen", "sinusoid"]


@dataclass(frozen=True)
class VisionForm:
    """What differs between the modalities around the blocks.

    Attributes:
        pooling: `mean` of the patch tokens, then a norm, or the normalised `class` token.
        class_token: whether there is one; it also helps where the mean is pooled.
        positions: a `learned` table; a `frozen` one, which starts as MAE's fixed 2-D table and is not trained; or a
            fixed 1-D `sinusoid` table, which is in no state dict.
        head_scale: of the head's first weights.
        head_norm: batch normalisation without an affine part before the head, as MAE's linear probe has.
    """

    pooling: Pooling = "mean"
    class_token: bool = True
    positions: Positions = "learned"
    head_scale: float = 1.0
    head_norm: bool = False


class VisionTransformer(nn.Module):
    """A classifier `values (rows, …) -> logits (rows, classes)` with timm's parameter names.

    Positions are added to the patch tokens before the class token joins them with its own, which gives what adding
    them after it gives, and lets tokens be left out in between.

    Args:
        preparation: what the processor gives, cast to the weights' precision, to what the tokenizer takes; without
            weights.
        patch_embed: the tokenizer.
        settings: of the blocks.
        classes: number of logits.
        form: what is around the blocks.
        masking: which tokens stay in training; all without it.
    """

    cls_token: nn.Parameter | None
    pos_embed: nn.Parameter | None

    def __init__(
        self,
        preparation: nn.Module,
        patch_embed: Patches,
        settings: TransformerSettings,
        *,
        classes: int,
        form: VisionForm | None = None,
        masking: TokenMasking | None = None,
    ) -> None:
        super().__init__()
        self.form = form = form or VisionForm()
        self.masking = masking
        self.cast = CastInput()
        self.sinusoid = SinusoidPositions() if form.positions == "sinusoid" else nn.Identity()
        extra = int(form.class_token or form.pooling == "class")
        self.preparation = preparation
        self.register_parameter("cls_token", _learned(1, settings.width) if extra else None)
        self.register_parameter("pos_embed", _position_parameter(patch_embed, settings.width, extra, form.positions))
        self.patch_embed = patch_embed
        self.blocks = transformer_blocks(settings)
        norm, none = nn.LayerNorm(settings.width, eps=settings.norm_eps), nn.Identity()
        self.norm: nn.Module = none if form.pooling == "mean" else norm
        self.fc_norm: nn.Module = norm if form.pooling == "mean" else none
        self.head = _head(settings.width, classes, form)

    def forward(self, values: Tensor) -> Tensor:
        """Return logits `(rows, classes)` of what the processor gives, any number of rows, zero too."""
        logits: Tensor = self.head(self.features(values))
        return logits

    def features(self, values: Tensor) -> Tensor:
        """Return the pooled and normalised features `(rows, width)`."""
        prepared = self.preparation(self.cast(values))
        x = self._with_class_token(self._with_positions(self.patch_embed(prepared)))
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        pooled = x[:, 0] if self.form.pooling == "class" else x[:, self._extra :].mean(dim=1)
        normalised: Tensor = self.fc_norm(pooled)
        return normalised

    def extra_repr(self) -> str:
        """Return the form."""
        return str(self.form)

    @property
    def _extra(self) -> int:
        return int(self.cls_token is not None)

    def _with_positions(self, tokens: Tensor) -> Tensor:
        tokens = self.sinusoid(tokens)
        if self.pos_embed is not None:
            tokens = tokens + self.pos_embed[:, self._extra :]
        if not self.training or self.masking is None:
            return tokens
        return take_tokens(tokens, self.masking.kept(tokens.shape[0], device=tokens.device))

    def _with_class_token(self, tokens: Tensor) -> Tensor:
        if self.cls_token is None:
            return tokens
        own = self.cls_token if self.pos_embed is None else self.cls_token + self.pos_embed[:, :1]
        return torch.cat([own.expand(tokens.shape[0], -1, -1), tokens], dim=1)


def _head(width: int, classes: int, form: VisionForm) -> nn.Module:
    linear = nn.Linear(width, classes)
    draw_weights(linear)
    linear.weight.data.mul_(form.head_scale)
    return nn.Sequential(BatchNorm(width, affine=False, eps=1e-6), linear) if form.head_norm else linear


def _learned(tokens: int, width: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, tokens, width), std=0.02))


def _position_parameter(tokenizer: Patches, width: int, extra: int, positions: Positions) -> nn.Parameter | None:
    if positions == "sinusoid":
        return None
    if positions == "learned":
        return _learned(extra + tokenizer.count, width)
    rows, columns = tokenizer.grid
    table = np.vstack([np.zeros((extra, width)), grid_positions(width, rows, columns)])
    return nn.Parameter(torch.tensor(table, dtype=torch.get_default_dtype()).unsqueeze(0), requires_grad=False)
