"""Training of the video pipeline: synthesised moving shapes as the target, scanned digits as the auxiliary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onepath.clients.payloads import payload_from_value
from onepath.export.progress import Progress
from onepath.export.recipe_fit import check_recipe_fits, settings_from_recipe
from onepath.export.trained import Trained
from onepath.export.training_values import values_from_payloads
from onepath.merging.presets import PATHWAY_LAYERS, ClipConstants, video_preset
from onepath.merging.presets.digit_auxiliary import digit_auxiliary
from onepath.training import rows_at, rows_from_tensors
from onepath.training.pathway import PathwayData, PathwaySettings, train_with_pathway

RECIPE = Path(__file__).with_name("recipe.yaml")
TRAINING_CLIPS, HELD_OUT_CLIPS = 600, 150
CLIP = ClipConstants(frames=8, rate=1, side=24)
TUBELET = (2, 8, 8)
SOURCE_FRAMES, SOURCE_SIDE, FRAMES_PER_SECOND = 10, 32, 10
MOTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0), "still": (0, 0)}
"""Label to the direction, rows and columns of pixels."""


def train(settings: Mapping[str, Any], *, seed: int, progress: Progress) -> Trained:
    """Return the video encoder with a pathway through the image encoder's weights; see `onepath.export.trained`.

    Args:
        settings: those of `PathwaySettings`.
        seed: decides everything random.
        progress: told of every epoch.
    """
    chosen = settings_from_recipe(PathwaySettings, settings, source=RECIPE)
    torch.manual_seed(seed)
    preset = video_preset("micro", clip=CLIP, classes=len(MOTIONS), tubelet=TUBELET, drop_path=0.0)
    check_recipe_fits(RECIPE, "video", preset, classes=len(MOTIONS))
    generator = np.random.default_rng(seed)
    with progress.stage("data: moving shapes", 1) as stage:
        clips, motions = moving_shapes(TRAINING_CLIPS + HELD_OUT_CLIPS, generator)
        rows = rows_from_tensors({"video": values_from_payloads(RECIPE, "video", clips)}, torch.from_numpy(motions))
        stage.advance()
    training, held_out = torch.arange(len(clips)).split([TRAINING_CLIPS, HELD_OUT_CLIPS])
    auxiliary, pixels, scanned = digit_auxiliary()
    result = train_with_pathway(
        preset.model,
        auxiliary,
        PathwayData(
            target=rows_at(rows, training),
            held_out=rows_at(rows, held_out),
            auxiliary=rows_from_tensors({"image": pixels}, scanned),
        ),
        chosen,
        layers=PATHWAY_LAYERS,
        seed=seed,
        stages=progress.stage,
    )
    return Trained(
        encoders={"video": result.model},
        rows=[{"video": clip} for clip in clips[TRAINING_CLIPS:]],
        targets=motions[TRAINING_CLIPS:].tolist(),
        details=result.details(),
    )


def moving_shapes(count: int, generator: np.random.Generator) -> tuple[list[bytes], NDArray[np.int64]]:
    """Return MP4 clips of a disc or a square that moves over noise, and which way it does, the ways in turn."""
    motions = np.arange(count, dtype=np.int64) % len(MOTIONS)
    directions = np.array(list(MOTIONS.values()))
    frames = [_frames(directions[motion], generator) for motion in motions]
    return [payload_from_value((clip, FRAMES_PER_SECOND), "video") for clip in frames], motions


def _frames(direction: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return uint8 `(frames, height, width, 3)`."""
    speed, radius = generator.uniform(1.0, 2.0), generator.uniform(3.5, 6.0)
    times = np.arange(SOURCE_FRAMES) - SOURCE_FRAMES / 2
    middle = SOURCE_SIDE / 2 + generator.uniform(-4, 4, 2)
    centres = middle + speed * times[:, None] * direction
    away = np.abs(np.mgrid[:SOURCE_SIDE, :SOURCE_SIDE] - centres[:, :, None, None])
    distance = np.hypot(*away.swapaxes(0, 1)) if generator.random() < 0.5 else away.max(axis=1)
    colour, ground = generator.uniform(120, 255, 3), generator.uniform(0, 100, 3)
    clip = np.where((distance < radius)[..., None], colour, ground)
    return np.clip(clip + generator.normal(0, 20, clip.shape), 0, 255).astype(np.uint8)
