"""Merging against the fusion methods that need paired rows, on every presence pattern, under one budget.

The two modalities are the upper and the lower half of scikit-learn's 1,797 scanned digits, which neither tells a digit
by alone. Every method has the same encoders, of four tokens a half, passes as often over the same rows with the same
optimiser, drops nothing but modalities, and is given the better of two learning rates; only what is trained together
differs. `LegoMerge` and the ensemble see no paired row: their parts are trained apart. `LegoFuse` is trained apart for
half of the passes and fine-tuned on paired rows for the rest. All others are trained on paired rows, of which each
loses a half now and then, as `LegoFuse` is in the end. Epochs are chosen by the validation rows with both halves,
learning rates by the same rows on every pattern; figures are accuracies on held-out rows, mean and standard deviation
over seeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from statistics import fmean
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from onepath.contract.presence import pattern_name, patterns
from onepath.merging.baselines import (
    HEALNET,
    MCAT,
    PERCEIVER,
    Ensemble,
    HEALNet,
    LateFusion,
    MultiModN,
    Perceiver,
    Source,
)
from onepath.merging.lego import LegoBlock, LegoFuse, LegoMerge, LegoSettings
from onepath.training import (
    Batch,
    Dataset,
    Splits,
    TrainerSettings,
    evaluate,
    fit,
    only_modality,
    showing,
    split_rows,
)
from onepath.training.figures import figure
from onepath.training.forward import encoded_rows
from overlap import half_digits
from paired import save

SEEDS = (0, 1, 2)
FRACTIONS = (0.4, 0.1, 0.5)
HALVES = ("upper", "lower")
CLASSES, TOKENS, WIDTH = 10, 4, 24
BUDGET = TrainerSettings(
    epochs=20, batch_size=36, weight_decay=0.05, label_smoothing=0.05, metric="accuracy", threads=1
)
RATES = (3e-3, 1e-2)
MODALITY_DROPOUT = 0.3
LEGO = LegoSettings(WIDTH, CLASSES, latents=8, width=32, depth=2, heads=4, head_width=8, tokens=TOKENS)
SIZES = {"latents": 8, "width": 32, "depth": 2, "latent_heads": 4, "head_width": 8}


Method = Callable[[Splits, TrainerSettings], nn.Module]


def half_encoder() -> nn.Module:
    """Return a small perceptron, `(rows, 32) -> (rows, 4, 24)`."""
    return nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, TOKENS * WIDTH), nn.Unflatten(1, (TOKENS, WIDTH)))


def half_sources() -> dict[str, Source]:
    """Return the encoder of each half."""
    return {name: Source(half_encoder(), WIDTH, TOKENS) for name in HALVES}


def half_classifier() -> nn.Module:
    """Return a classifier of one half around the same encoder."""
    return nn.Sequential(half_encoder(), nn.Flatten(), nn.GELU(), nn.Linear(TOKENS * WIDTH, CLASSES))


def half_block() -> LegoBlock:
    """Return a block around the same encoder."""
    return LegoBlock(half_encoder(), LEGO)


def step_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Return the mean loss of a MultiModN's answers after every step, which is how it is trained."""
    features = encoded_rows(model, batch.values, batch.present)
    scores = model.step_scores(features, batch.present)
    target = batch.target.unsqueeze(1).expand(-1, scores.shape[1])
    return functional.cross_entropy(scores.transpose(1, 2), target, label_smoothing=BUDGET.label_smoothing)


def apart(make: Callable[[], nn.Module], splits: Splits, settings: TrainerSettings) -> dict[str, nn.Module]:
    """Return a model of each half, trained on the rows of that half alone; both start from the same weights."""
    models = {}
    for name in HALVES:
        torch.manual_seed(settings.seed)
        models[name] = make()
        fit(models[name], only_modality(splits.train, name), only_modality(splits.validation, name), settings)
    return models


def together(model: nn.Module, splits: Splits, settings: TrainerSettings) -> nn.Module:
    """Return a model, trained on paired rows that lose a half now and then."""
    dropping = settings.model_copy(update={"modality_dropout": MODALITY_DROPOUT})
    objective = step_loss if isinstance(model, MultiModN) else None
    fit(model, splits.train, splits.validation, dropping, objective=objective)
    return model


def paired_method(make: Callable[[], nn.Module], splits: Splits, settings: TrainerSettings) -> nn.Module:
    """Return a model that was trained on paired rows from the start."""
    torch.manual_seed(settings.seed)
    return together(make(), splits, settings)


def fused_method(splits: Splits, settings: TrainerSettings) -> nn.Module:
    """Return a chain of blocks, trained apart and fine-tuned together."""
    half = settings.model_copy(update={"epochs": settings.epochs // 2})
    return together(LegoFuse(apart(half_block, splits, half)), splits, half)


METHODS: Mapping[str, Method] = {
    "LegoMerge": lambda splits, settings: LegoMerge(apart(half_block, splits, settings)),
    "ensemble": lambda splits, settings: Ensemble(apart(half_classifier, splits, settings), CLASSES),
    "LegoFuse": fused_method,
    "late fusion, concatenated": partial(paired_method, lambda: LateFusion(half_sources(), CLASSES, dropout=0.0)),
    "late fusion, bilinear": partial(
        paired_method, lambda: LateFusion(half_sources(), CLASSES, method="bilinear", dropout=0.0)
    ),
    "Perceiver": partial(paired_method, lambda: Perceiver(half_sources(), CLASSES, replace(PERCEIVER, **SIZES))),
    "HEALNet": partial(paired_method, lambda: HEALNet(half_sources(), CLASSES, replace(HEALNET, **SIZES))),
    "MultiModN": partial(paired_method, lambda: MultiModN(half_sources(), CLASSES)),
    "MCAT": partial(paired_method, lambda: MCAT(half_sources(), CLASSES, width=32, heads=4, depth=1, dropout=0.0)),
}


def accuracies(model: nn.Module, rows: Dataset) -> dict[str, float]:
    """Return the accuracy on rows that have only what a pattern says, by pattern."""
    found = {}
    for pattern in patterns(HALVES):
        intervals = evaluate(model, showing(rows, pattern), ["accuracy"], resamples=0)
        found[pattern_name(pattern)] = intervals["accuracy"].value
    return found


def chosen(train: Method, splits: Splits, seed: int) -> tuple[float, nn.Module]:
    """Return the learning rate that does best on the validation rows, over all patterns, and its model."""
    tried = {}
    for rate in RATES:
        model = train(splits, BUDGET.model_copy(update={"seed": seed, "learning_rate": rate}))
        tried[rate] = (fmean(accuracies(model, splits.validation).values()), model)
    best = max(RATES, key=lambda rate: tried[rate][0])
    return best, tried[best][1]


def measured(train: Method, every: Mapping[int, Splits]) -> dict[str, Any]:  # JSON
    """Return a method's accuracies over seeds, by pattern, its size, rates, and the CPU time of all its trainings."""
    begin = time.thread_time()
    picked = {seed: chosen(train, splits, seed) for seed, splits in every.items()}
    seconds = time.thread_time() - begin
    runs = [accuracies(model, every[seed].test) for seed, (_, model) in picked.items()]
    return {
        "accuracy": {pattern: asdict(figure([run[pattern] for run in runs])) for pattern in runs[0]},
        "parameters": sum(parameter.numel() for parameter in picked[SEEDS[0]][1].parameters()),
        "learning_rates": [rate for rate, _ in picked.values()],
        "training_seconds": seconds,
    }


def main() -> None:
    """Train and measure every method, and write the figures."""
    rows = half_digits()
    every = {seed: split_rows(rows, seed=seed, fractions=FRACTIONS) for seed in SEEDS}
    parts = {part: len(getattr(every[SEEDS[0]], part).target) for part in ("train", "validation", "test")}
    results = {}
    for name, train in METHODS.items():
        results[name] = measured(train, every)
        print(name, {pattern: round(found["mean"], 4) for pattern, found in results[name]["accuracy"].items()})
    settings = BUDGET.model_dump(mode="json", exclude={"seed", "learning_rate", "modality_dropout"})
    budget = {"learning_rates": RATES, "modality_dropout": MODALITY_DROPOUT, **settings}
    save("baselines", {"rows": parts, "seeds": SEEDS, "settings": budget, "results": results})


if __name__ == "__main__":
    main()
