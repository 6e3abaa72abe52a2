"""Each modality's pipeline at the smallest size, and values as its processor gives them."""

import numpy as np
import torch
from torch import Tensor, nn

from onepath.merging.presets import (
    ClipConstants,
    PointConstants,
    Preset,
    SpectrogramConstants,
    audio_preset,
    image_preset,
    point_preset,
    video_preset,
)
from onepath.merging.presets.fbank import FbankSettings

CLASSES = 5
SOUNDS = SpectrogramConstants(frames=32, seconds=0.3, mean=-6.0, deviation=4.0)
MAKERS = {
    "image": lambda: image_preset("micro", classes=CLASSES, side=32, patch=8, drop_path=0.0),
    "audio": lambda: audio_preset(
        "micro", data=SOUNDS, classes=CLASSES, patch=8, filterbank=FbankSettings(8000, bands=24), drop_path=0.0
    ),
    "video": lambda: video_preset(
        "micro", clip=ClipConstants(4, 1, 16), classes=CLASSES, tubelet=(2, 8, 8), drop_path=0.0
    ),
    "points": lambda: point_preset("micro", data=PointConstants(6, 64, 8), classes=CLASSES),
}


def small_preset(modality: str) -> Preset:
    """Return a pipeline whose weights are far from where they start, so that every part of the model matters."""
    torch.manual_seed(0)
    preset = MAKERS[modality]()
    with torch.no_grad():
        for parameter in preset.model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    preset.model.eval()
    return preset


def small_model(modality: str) -> nn.Module:
    return small_preset(modality).model


def values_of(modality: str, rows: int, seed: int = 7) -> Tensor:
    random = np.random.default_rng(seed)
    if modality == "image":
        return torch.from_numpy(random.integers(0, 256, (rows, 3, 36, 36), np.uint8))
    if modality == "audio":
        return torch.from_numpy(random.normal(0, 3000, (rows, 2400)).astype(np.int16))
    if modality == "video":
        return torch.from_numpy(random.integers(0, 256, (rows, 3, 4, 16, 16), np.uint8))
    return torch.from_numpy(random.normal(0, 0.5, (rows, 6, 9, 3)).astype(np.float32))
