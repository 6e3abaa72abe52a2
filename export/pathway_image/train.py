"""Training of the image pipeline: scikit-learn's scanned digits as the target, synthesised sounds as the auxiliary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from onepath.clients.payloads import payload_from_value
from onepath.export.progress import Progress
from onepath.export.recipe_fit import check_recipe_fits, settings_from_recipe
from onepath.export.trained import Trained
from onepath.export.training_values import values_from_payloads
from onepath.merging.presets import PATHWAY_LAYERS, audio_preset, image_preset
from onepath.merging.presets.fbank import FbankSettings, measured_constants
from onepath.training import rows_at, rows_from_tensors
from onepath.training.pathway import PathwayData, PathwaySettings, train_with_pathway

RECIPE = Path(__file__).with_name("recipe.yaml")
SIDE, PATCH = 32, 8
SCAN_SIDE = 40
"""Pixels on each side of an enlarged scan."""
TRAINING_SCANS = 1200
"""The other 597 are held out."""
RATE_HZ, SOUND_S = 8000, 0.32
BANK = FbankSettings(RATE_HZ, bands=32, frames=32)
SOUNDS = 600
CONTOURS = ("rising", "falling", "steady", "arching")


def train(settings: Mapping[str, Any], *, seed: int, progress: Progress) -> Trained:
    """Return the image encoder with a pathway through the sound encoder's weights; see `onepath.export.trained`.

    Args:
        settings: those of `PathwaySettings`.
        seed: decides everything random.
        progress: told of every epoch.
    """
    chosen = settings_from_recipe(PathwaySettings, settings, source=RECIPE)
    torch.manual_seed(seed)
    preset = image_preset("micro", classes=10, side=SIDE, patch=PATCH, channels=1, drop_path=0.0)
    check_recipe_fits(RECIPE, "image", preset, classes=10)
    generator = np.random.default_rng(seed)
    pngs, digits = scanned_digits(generator)
    rows = rows_from_tensors({"image": values_from_payloads(RECIPE, "image", pngs)}, torch.from_numpy(digits))
    training, held_out = torch.arange(len(pngs)).split([TRAINING_SCANS, len(pngs) - TRAINING_SCANS])
    samples, contours = contour_sounds(generator)
    result = train_with_pathway(
        preset.model,
        sound_encoder(samples),
        PathwayData(
            target=rows_at(rows, training),
            held_out=rows_at(rows, held_out),
            auxiliary=rows_from_tensors({"audio": samples}, contours),
        ),
        chosen,
        layers=PATHWAY_LAYERS,
        seed=seed,
        stages=progress.stage,
    )
    return Trained(
        encoders={"image": result.model},
        rows=[{"image": png} for png in pngs[TRAINING_SCANS:]],
        targets=digits[TRAINING_SCANS:].tolist(),
        details=result.details(),
    )


def scanned_digits(generator: np.random.Generator) -> tuple[list[bytes], NDArray[np.int64]]:
    """Return scikit-learn's 1,797 scans, enlarged and noisy, as PNG, in random order, and their digits."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = generator.permutation(len(data.target))
    pngs = [payload_from_value(_enlarged(data.images[index], generator), "image") for index in order]
    return pngs, data.target[order].astype(np.int64)


def contour_sounds(generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return noisy tones whose pitch rises, falls, stays or arches, int16 `(sounds, samples)`, and which it does."""
    place = np.linspace(-1, 1, round(RATE_HZ * SOUND_S))
    shapes = np.stack([place, -place, np.zeros_like(place), 0.5 - place**2])
    contours = generator.integers(len(CONTOURS), size=SOUNDS)
    octaves = shapes[contours] * generator.uniform(0.3, 1.0, (SOUNDS, 1)) + generator.uniform(-0.7, 0.7, (SOUNDS, 1))
    tones = np.sin(2 * np.pi * np.cumsum(700 * 2**octaves / RATE_HZ, axis=1))
    noisy = 6000 * tones + generator.normal(0, 1500, tones.shape)
    return torch.from_numpy(np.round(noisy).astype(np.int16)), torch.from_numpy(contours)


def sound_encoder(samples: Tensor) -> nn.Module:
    """Return an untrained encoder of these sounds, of the image encoder's width and depth."""
    constants = measured_constants(samples, BANK)
    classes = len(CONTOURS)
    return audio_preset("micro", data=constants, classes=classes, patch=PATCH, filterbank=BANK, drop_path=0.0).model


def _enlarged(scan: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.uint8]:
    levels = Image.fromarray(np.uint8(scan * 255 / 16)).resize((SCAN_SIDE, SCAN_SIDE), Image.Resampling.BICUBIC)
    noisy = np.asarray(levels, np.float64) + generator.normal(0, 40, (SCAN_SIDE, SCAN_SIDE))
    return np.clip(noisy, 0, 255).astype(np.uint8)
