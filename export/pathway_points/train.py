"""Training of the point-cloud pipeline: synthesised solids as the target, scanned digits as the auxiliary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from solids import SOLIDS, clouds_of

from onepath.export.progress import Progress
from onepath.export.recipe_fit import check_recipe_fits, settings_from_recipe
from onepath.export.trained import Trained
from onepath.export.training_values import values_from_payloads
from onepath.merging.presets import PATHWAY_LAYERS, PointConstants, point_preset
from onepath.merging.presets.digit_auxiliary import digit_auxiliary
from onepath.training import rows_at, rows_from_tensors
from onepath.training.pathway import PathwayData, PathwaySettings, train_with_pathway

RECIPE = Path(__file__).with_name("recipe.yaml")
TRAINING_CLOUDS, HELD_OUT_CLOUDS = 600, 400
GROUPS = PointConstants(groups=16, points=128, neighbours=12)
GROUP_WIDTHS = (32, 64, 128)


def train(settings: Mapping[str, Any], *, seed: int, progress: Progress) -> Trained:
    """Return the point encoder with a pathway through the image encoder's weights; see `onepath.export.trained`.

    Args:
        settings: those of `PathwaySettings`.
        seed: decides everything random.
        progress: told of every epoch.
    """
    chosen = settings_from_recipe(PathwaySettings, settings, source=RECIPE)
    torch.manual_seed(seed)
    preset = point_preset("micro", data=GROUPS, classes=len(SOLIDS), group_widths=GROUP_WIDTHS)
    check_recipe_fits(RECIPE, "points", preset, classes=len(SOLIDS))
    generator = np.random.default_rng(seed)
    with progress.stage("data: solids", 1) as stage:
        clouds, kinds = clouds_of(TRAINING_CLOUDS + HELD_OUT_CLOUDS, generator)
        rows = rows_from_tensors({"points": values_from_payloads(RECIPE, "points", clouds)}, torch.from_numpy(kinds))
        stage.advance()
    training, held_out = torch.arange(len(clouds)).split([TRAINING_CLOUDS, HELD_OUT_CLOUDS])
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
        encoders={"points": result.model},
        rows=[{"points": cloud} for cloud in clouds[TRAINING_CLOUDS:]],
        targets=kinds[TRAINING_CLOUDS:].tolist(),
        details=result.details(),
    )
