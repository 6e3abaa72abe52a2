"""Blocks trained alone on their own modality, and chains of them fine-tuned briefly on rows."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import torch
from decoded_digits import Examples
from digit_encoders import CLASSES, DigitEncoder
from fitting import BATCH, cross_entropy, fit, loss_of, mapped
from torch import Tensor, nn

from onepath.contract.presence import patterns
from onepath.export.progress import Stage
from onepath.merging.lego import LegoBlock, LegoFuse, LegoSettings

_FUSE_RATE = 1e-3


def train_block(encoder: DigitEncoder, examples: Examples, *, steps: int, seed: int, stage: Stage) -> LegoBlock:
    """Return a block around a trained encoder, which stays as it is; the rest is trained on one modality.

    Blocks of one seed start from one latent and one head, so that what they learn apart can be merged.

    Args:
        encoder: trained; the block shares its weights.
        examples: decoded values of the encoder's modality.
        steps: batches.
        seed: decides the start and the order of the batches.
        stage: told of every step.
    """
    block = _block_on_features(encoder.width, seed)
    features = mapped(encoder.without_head(), examples)
    fit(loss_of(block, features), block, len(features.digits), steps=steps, seed=seed, stage=stage)
    block.encoder = encoder.without_head()
    return block.eval()


def fuse_blocks(
    blocks: Mapping[str, nn.Module],
    order: Literal["stack", "weave"],
    values: Mapping[str, Tensor],
    digits: Tensor,
    *,
    steps: int,
    seed: int,
    stage: Stage,
) -> LegoFuse:
    """Return the blocks fused and fine-tuned together, on rows of which every batch drops modalities at random.

    Args:
        blocks: modality to trained block; they are copied.
        order: in which the latent passes through them.
        values: modality to decoded values, one row each.
        digits: int64 `(rows,)`.
        steps: batches.
        seed: decides their order and what is dropped.
        stage: told of every step.
    """
    model = LegoFuse(copy.deepcopy(dict(blocks)), order=order)
    features = {name: mapped(model.encoders[name], Examples(values[name], digits)).values for name in values}
    masks = torch.tensor([[name in pattern for name in model.modalities] for pattern in patterns(model.modalities)])
    generator = torch.Generator().manual_seed(seed)

    def loss(batch: Tensor) -> Tensor:
        present = masks[torch.randint(len(masks), (BATCH,), generator=generator)]
        dropped = {
            name: torch.where(present[:, column, None, None], features[name][batch], model.absent(name))
            for column, name in enumerate(model.modalities)
        }
        return cross_entropy(model.fuse(dropped, present)["scores"], digits[batch])

    for block in model.blocks.values():
        block.encoder.requires_grad_(False)
    fit(loss, model, len(digits), steps=steps, seed=seed, stage=stage, rate=_FUSE_RATE)
    return model.eval()


def _block_on_features(width: int, seed: int) -> LegoBlock:
    settings = LegoSettings(
        feature_dim=width, classes=CLASSES, latents=8, width=32, depth=2, heads=4, head_width=8, tokens=1
    )
    torch.manual_seed(seed)
    block = LegoBlock(nn.Identity(), settings)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        block.latent.normal_(generator=generator)
        nn.init.orthogonal_(block.head.linear.weight, generator=generator)
        nn.init.zeros_(block.head.linear.bias)
    return block
