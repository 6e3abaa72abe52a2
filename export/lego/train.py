"""MM-Lego in its own setting: a table and a bag, each block trained on scans that the other never sees."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from patch_bags import PatchBags
from projected_scans import LINES, SIDE, Row, Scans, pictures_of, repeated, rows_of, split_scans, tables_of
from pydantic import Field
from torch import nn

from onepath.contract.tensors import Closed
from onepath.export.progress import Progress
from onepath.export.trained import Trained
from onepath.export.training_values import values_from_payloads
from onepath.merging.encoders import SelfNormalizingNetwork
from onepath.merging.lego import LegoBlock, LegoFuse, LegoMerge, LegoSettings
from onepath.training import Rows, TrainerSettings, evaluate, fit, only_modality, rows_from_tensors

RECIPE = Path(__file__).with_name("recipe.yaml")
TEST_SCANS, PAIRED_SCANS, TABLE_SCANS = 600, 160, 520
CLASSES, WIDTH = 10, 64


class LegoTraining(Closed):
    """How much is trained.

    Attributes:
        renderings: how often each scan is measured and drawn, with other errors each time.
        table_epochs: of the table's block.
        image_epochs: of the picture's block.
        fuse_epochs: of the chain of both, on rows.
    """

    renderings: int = Field(default=4, ge=1)
    table_epochs: int = Field(default=12, ge=1)
    image_epochs: int = Field(default=18, ge=1)
    fuse_epochs: int = Field(default=10, ge=1)


def train(settings: Mapping[str, Any], *, seed: int, progress: Progress) -> Trained:
    """Return two blocks, a chain of both that was fine-tuned on rows, and held-out rows.

    Args:
        settings: those of `LegoTraining`.
        seed: decides everything random.
        progress: told of every epoch.
    """
    chosen = LegoTraining.model_validate(dict(settings))
    rng = np.random.default_rng(seed)
    test, paired, *separate = split_scans([TEST_SCANS, PAIRED_SCANS, TABLE_SCANS], rng)
    tables, pictures = (repeated(scans, chosen.renderings) for scans in separate)
    data = {
        "table": _rows(tables, table=tables_of(tables, rng)),
        "image": _rows(pictures, image=pictures_of(pictures, rng)),
    }
    pairs = _rows_of_both(repeated(paired, chosen.renderings), rng)[0]
    held_out, payloads = _rows_of_both(test, rng)
    blocks: dict[str, nn.Module] = {name: _block(encoder, seed) for name, encoder in _encoders(seed).items()}
    for name, epochs in {"table": chosen.table_epochs, "image": chosen.image_epochs}.items():
        _fit(f"{name} block, alone", blocks[name], data[name], _settings(epochs, seed), progress)
    fused = LegoFuse(copy.deepcopy(blocks), order="stack")
    _fit("stack: fused, on rows", fused, pairs, _settings(chosen.fuse_epochs, seed, fused=True), progress)
    return Trained(
        encoders={},
        blocks=blocks,
        fused={"stack": fused},
        rows=payloads,
        targets=test.digits.tolist(),
        details={"test_rows": len(payloads), "test_accuracy": _accuracies(blocks, fused, held_out)},
    )


def _encoders(seed: int) -> dict[str, nn.Module]:
    torch.manual_seed(seed)
    return {
        "table": SelfNormalizingNetwork(2 * LINES, widths=(128, WIDTH), dropout=0.1),
        "image": PatchBags(SIDE, hidden=128, feature_dim=WIDTH, dropout=0.1),
    }


def _block(encoder: nn.Module, seed: int) -> LegoBlock:
    """Return an untrained block; those of one seed start from one latent and one head, so that they can be merged."""
    torch.manual_seed(seed)
    form = LegoSettings(feature_dim=WIDTH, classes=CLASSES, latents=8, width=32, depth=2, heads=4, head_width=8)
    block = LegoBlock(encoder, form)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        block.latent.normal_(generator=generator)
        nn.init.orthogonal_(block.head.linear.weight, generator=generator)
        nn.init.zeros_(block.head.linear.bias)
    return block


def _rows(scans: Scans, **payloads: list[bytes]) -> Rows:
    values = {name: values_from_payloads(RECIPE, name, each) for name, each in payloads.items()}
    return rows_from_tensors(values, torch.from_numpy(scans.digits))


def _rows_of_both(scans: Scans, rng: np.random.Generator) -> tuple[Rows, list[Row]]:
    rows = rows_of(scans, rng)
    return _rows(scans, table=[row["table"] for row in rows], image=[row["image"] for row in rows]), rows


def _settings(epochs: int, seed: int, *, fused: bool = False) -> TrainerSettings:
    return TrainerSettings(
        epochs=epochs,
        batch_size=32 if fused else 96,
        learning_rate=1e-3 if fused else 4e-3,
        warm_up_epochs=1,
        label_smoothing=0.05,
        modality_dropout=0.3 if fused else 0.0,
        seed=seed,
        threads=1,
    )


def _fit(title: str, model: nn.Module, rows: Rows, settings: TrainerSettings, progress: Progress) -> None:
    with progress.stage(title, settings.epochs) as stage:
        history = fit(model, rows, None, settings, report=lambda record: stage.advance())
        stage.note(f"loss {history.best.loss:.2f}")


def _accuracies(blocks: Mapping[str, nn.Module], fused: LegoFuse, held_out: Rows) -> dict[str, float]:
    """Return the test accuracy of each block alone and of what was made of both."""
    merged = {f"merged, {method}": LegoMerge(blocks, method=method).eval() for method in ("harmonic", "sum")}
    known = {name: (block, only_modality(held_out, name)) for name, block in blocks.items()}
    known |= {name: (model, held_out) for name, model in {**merged, "stack, fine-tuned": fused}.items()}
    return {
        name: evaluate(model, rows, ["accuracy"], resamples=0)["accuracy"].value
        for name, (model, rows) in known.items()
    }
