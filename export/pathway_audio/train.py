"""Training of the audio pipeline: spoken digits as the target, scikit-learn's scanned digits as the auxiliary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from english_digits import CLIP_S, Clips, clips_of
from torch import Tensor

from onepath.export.progress import Progress
from onepath.export.recipe_fit import check_recipe_fits, settings_from_recipe
from onepath.export.trained import Trained
from onepath.export.training_values import values_from_payloads
from onepath.merging.presets import PATHWAY_LAYERS, Preset, audio_preset
from onepath.merging.presets.digit_auxiliary import digit_auxiliary
from onepath.merging.presets.fbank import FbankSettings, measured_constants
from onepath.training import Rows, rows_from_tensors
from onepath.training.pathway import PathwayData, PathwaySettings, train_with_pathway

RECIPE = Path(__file__).with_name("recipe.yaml")
TRAINING_CLIPS, HELD_OUT_CLIPS = 800, 200
BANK = FbankSettings(8000, bands=32, frames=96)
"""A spectrogram of 96 frames, 10 ms apart, which a clip nearly fills, and 32 bands."""
PATCH = 8


def train(settings: Mapping[str, Any], *, seed: int, progress: Progress) -> Trained:
    """Return the audio encoder with a pathway through the image encoder's weights; see `onepath.export.trained`.

    Args:
        settings: those of `PathwaySettings`.
        seed: decides everything random.
        progress: told of every epoch.
    """
    chosen = settings_from_recipe(PathwaySettings, settings, source=RECIPE)
    generator = np.random.default_rng(seed)
    with progress.stage("data: spoken digits", 2) as stage:
        training = clips_of("train", TRAINING_CLIPS, generator)
        stage.advance()
        held_out = clips_of("held_out", HELD_OUT_CLIPS, generator)
        stage.advance()
    heard = values_from_payloads(RECIPE, "audio", training.payloads)
    torch.manual_seed(seed)
    preset = sound_pipeline(heard)
    check_recipe_fits(RECIPE, "audio", preset, classes=10)
    auxiliary, pixels, scanned = digit_auxiliary()
    result = train_with_pathway(
        preset.model,
        auxiliary,
        PathwayData(
            target=_rows(heard, training),
            held_out=_rows(values_from_payloads(RECIPE, "audio", held_out.payloads), held_out),
            auxiliary=rows_from_tensors({"image": pixels}, scanned),
        ),
        chosen,
        layers=PATHWAY_LAYERS,
        seed=seed,
        stages=progress.stage,
    )
    return Trained(
        encoders={"audio": result.model},
        rows=[{"audio": payload} for payload in held_out.payloads],
        targets=held_out.digits.tolist(),
        details=result.details(),
    )


def sound_pipeline(samples: Tensor) -> Preset:
    """Return the pipeline, untrained, whose normalisation is that of these samples, int16 `(clips, samples)`."""
    constants = replace(measured_constants(samples, BANK), seconds=CLIP_S)
    return audio_preset("micro", data=constants, classes=10, patch=PATCH, filterbank=BANK, drop_path=0.0)


def _rows(samples: Tensor, clips: Clips) -> Rows:
    return rows_from_tensors({"audio": samples}, torch.from_numpy(clips.digits))
