"""The modality-overlap experiment: blocks trained on rows that they share in part, merged, and tested on paired rows.

After MM-Lego (arXiv 2405.19950): every modality has the same number of rows, a fraction of which all modalities have
in common, so that with no overlap not one training row is paired. The merge is compared with an ensemble, the mean of
the blocks' logits, and with each block alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from pydantic import Field, model_validator
from torch import Tensor

from onepath.contract.tensors import Closed
from onepath.merging.lego import LegoBlock, LegoMerge
from onepath.training.data import Dataset, View, only_modality, rows_at
from onepath.training.errors import TrainingError
from onepath.training.evaluation import metric_from_name
from onepath.training.figures import Figure, figure
from onepath.training.forward import predictions
from onepath.training.reproducible import reproducible
from onepath.training.settings import METRICS_OF_LOSS, MetricName, Probability, Seed, TrainerSettings
from onepath.training.splits import split_rows
from onepath.training.trainer import fit

BuildBlock = Callable[[str, int], LegoBlock]
"""A modality and a seed to a fresh block."""


class OverlapSettings(Closed):
    """How the experiment is run.

    Attributes:
        rows: of each modality, split for training, validation and test.
        overlaps: the fractions of them that all modalities share.
        evaluation_rows: paired rows outside all of them, the same for every overlap of a seed.
        seeds: of rows, blocks and training.
        trainer: of each block; its seed is set for each run.
        methods: of merging, each applied to the same blocks.
        head: how their heads are merged.
        metric: what all are measured by on the evaluation rows.
    """

    rows: int = Field(ge=10)
    overlaps: tuple[Probability, ...] = Field(default=(0.0, 0.25, 0.5, 0.75, 1.0), min_length=1)
    evaluation_rows: int = Field(ge=1)
    seeds: tuple[Seed, ...] = Field(default=(0, 1, 2), min_length=1)
    trainer: TrainerSettings = TrainerSettings()
    methods: tuple[str, ...] = Field(default=("harmonic",), min_length=1)
    head: str = "slerp"
    metric: MetricName = "accuracy"

    @model_validator(mode="after")
    def _can_be_measured(self) -> OverlapSettings:
        fitting = [name for name in METRICS_OF_LOSS[self.trainer.loss] if name != "loss"]
        if self.metric not in fitting:
            advice = f"use {', '.join(fitting)}"
            raise ValueError(
                f"metric {self.metric!r} does not fit held-out rows of loss {self.trainer.loss!r}; {advice}"
            )
        for name in ("overlaps", "seeds", "methods"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"of {name} one is given twice")
        return self


@dataclass(frozen=True, eq=False)
class OverlapRows:
    """Which rows are used for what.

    Attributes:
        own: modality to the positions of its rows, int64 `(rows,)`.
        evaluation: positions of the paired rows outside all of them.
    """

    own: Mapping[str, Tensor]
    evaluation: Tensor


@dataclass(frozen=True)
class OverlapResult:
    """What one overlap gave, over the seeds.

    Attributes:
        overlap: the fraction of shared rows.
        merged: merge method to the metric of the merged blocks.
        ensemble: of the mean of the blocks' logits.
        blocks: modality to the metric of its block alone.
    """

    overlap: float
    merged: Mapping[str, Figure]
    ensemble: Figure
    blocks: Mapping[str, Figure]


def measure_overlap(data: Dataset, build: BuildBlock, settings: OverlapSettings) -> tuple[OverlapResult, ...]:
    """Return the results of the experiment, one an overlap.

    Args:
        data: rows of which enough have every modality; the others are not used.
        build: makes the block of a modality; called with torch's generator seeded alike for all modalities, so that
            blocks that draw their latent first start from the same one.
        settings: how.

    Raises:
        TrainingError: there are too few paired rows, or a block cannot be trained.
        UnsupportedModuleError: the blocks cannot be merged; nothing was trained.
        UnknownPluginError: a merge method is not installed; nothing was trained.
        UndefinedMetricError: the evaluation rows do not define the metric.
    """
    return tuple(_result(data, build, settings, overlap) for overlap in settings.overlaps)


def overlapping_rows(data: Dataset, settings: OverlapSettings, *, overlap: float, seed: int) -> OverlapRows:
    """Return which rows are used for what.

    Args:
        data: rows, of which those with every modality are used.
        settings: of the experiment.
        overlap: the fraction of shared rows.
        seed: decides which.

    Raises:
        TrainingError: there are too few paired rows for the smallest overlap.
    """
    paired = data.present.all(dim=1).nonzero().squeeze(1)
    needed = _needed(settings, len(data.modalities))
    if len(paired) < needed:
        raise TrainingError(
            "the rows",
            f"{len(paired)} have every modality and the experiment needs {needed}",
            "lower rows or evaluation_rows, or leave out small overlaps",
        )
    order = paired[torch.randperm(len(paired), generator=torch.Generator().manual_seed(seed))]
    evaluation, rest = order[: settings.evaluation_rows], order[settings.evaluation_rows :]
    shared = round(overlap * settings.rows)
    apart = settings.rows - shared
    own = {
        modality: torch.cat([rest[:shared], rest[shared + index * apart :][:apart]])
        for index, modality in enumerate(data.modalities)
    }
    return OverlapRows(own, evaluation)


def _needed(settings: OverlapSettings, modalities: int) -> int:
    shared = round(min(settings.overlaps) * settings.rows)
    return settings.evaluation_rows + shared + modalities * (settings.rows - shared)


def _result(data: Dataset, build: BuildBlock, settings: OverlapSettings, overlap: float) -> OverlapResult:
    runs = [_measured(data, build, settings, overlap=overlap, seed=seed) for seed in settings.seeds]
    return OverlapResult(
        overlap,
        {method: figure([run.merged[method] for run in runs]) for method in settings.methods},
        figure([run.ensemble for run in runs]),
        {modality: figure([run.blocks[modality] for run in runs]) for modality in data.modalities},
    )


@dataclass(frozen=True)
class _Run:
    merged: Mapping[str, float]
    ensemble: float
    blocks: Mapping[str, float]


def _measured(data: Dataset, build: BuildBlock, settings: OverlapSettings, *, overlap: float, seed: int) -> _Run:
    rows = overlapping_rows(data, settings, overlap=overlap, seed=seed)
    blocks = {modality: _fresh_block(build, settings.trainer, modality=modality, seed=seed) for modality in rows.own}
    merges = {method: LegoMerge(blocks, method=method, head=settings.head) for method in settings.methods}
    for modality, own in rows.own.items():  # a merge uses its blocks, so that it has what they learn
        _train_block(blocks[modality], only_modality(rows_at(data, own), modality), settings.trainer, seed=seed)
    paired = rows_at(data, rows.evaluation)
    answers = {modality: predictions(block, only_modality(paired, modality)) for modality, block in blocks.items()}
    value_of, target = metric_from_name(settings.metric).of, paired.target
    return _Run(
        {method: value_of(predictions(merge, paired), target) for method, merge in merges.items()},
        value_of(torch.stack(list(answers.values())).mean(dim=0), target),
        {modality: value_of(logits, target) for modality, logits in answers.items()},
    )


def _fresh_block(build: BuildBlock, trainer: TrainerSettings, *, modality: str, seed: int) -> LegoBlock:
    with reproducible(seed, threads=trainer.threads):
        return build(modality, seed)


def _train_block(block: LegoBlock, rows: View, trainer: TrainerSettings, *, seed: int) -> None:
    splits = split_rows(rows, seed=seed)
    fit(block, splits.train, splits.validation, trainer.model_copy(update={"seed": seed}))
