"""A text transformer with a second path, layer by layer, through a transformer that learned scanned digits."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from number_words import WORDS, typed_words
from sklearn.datasets import load_digits
from torch import Tensor, nn

from onepath.export.progress import Progress, Stage
from onepath.export.recipe import recipe_from_file
from onepath.export.trained import Trained
from onepath.merging.reparameterization import MPTransformer, MPTransformerBlock, parameter_groups, scales
from onepath.merging.reparameterization.transformer_block import attach_to_block
from onepath.modalities import decode_rows, processor_from_settings
from onepath.modalities.text import TextProcessor
from onepath.training import EpochRecord, Rows, TrainerSettings, evaluate, fit, rows_from_tensors

FOLDER = Path(__file__).parent
TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS = 2400, 400, 400
GREY_LEVELS, PIXELS, DIGITS = 17, 64, 10


class TextClassifier(nn.Module):
    """Character ids `(rows, length)`, 0 where the text has ended, to logits `(rows, languages)`."""

    def __init__(self, vocabulary: int, length: int) -> None:
        super().__init__()
        self.transformer = MPTransformer(vocabulary, length=length, classes=len(WORDS), dim=48, depth=2, heads=4)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits."""
        return cast(Tensor, self.transformer(ids, ids > 0))


class _Data(NamedTuple):
    train: Rows
    validation: Rows
    test: Rows
    words: list[str]
    languages: list[int]


def train(settings: Mapping[str, Any], *, seed: int, progress: Progress) -> Trained:
    """Return the text classifier with its second path, and held-out words.

    Args:
        settings: `text_epochs` alone, `pixel_epochs` of the auxiliary alone, `pathway_epochs` with the second path.
        seed: decides everything random.
        progress: told of every epoch.
    """
    torch.manual_seed(seed)
    processor = _text_processor()
    data = _data(processor, seed)
    auxiliary = MPTransformer(GREY_LEVELS, length=PIXELS, classes=DIGITS, dim=48, depth=2, heads=4)
    model = TextClassifier(processor.vocabulary_size, processor.shape[0])
    _fitted("pixel transformer", auxiliary, _scanned_digits(), None, settings["pixel_epochs"], seed, progress)
    _fitted("text transformer", model, data.train, data.validation, settings["text_epochs"], seed, progress)
    without = copy.deepcopy(model)
    for mine, theirs in zip(model.transformer.blocks, auxiliary.blocks, strict=True):
        attach_to_block(cast(MPTransformerBlock, mine), theirs, name="pixels")
    for title, one in (("text, on with the second path", model), ("text, on without it", without)):
        _fitted(title, one, data.train, data.validation, settings["pathway_epochs"], seed, progress)
    details = {
        "test_accuracy": _accuracy(model, data.test),
        "test_accuracy_without_second_path": _accuracy(without, data.test),
        "scales": {path: values[0] for path, values in scales(model).items()},
    }
    rows = [{"text": word.encode()} for word in data.words]
    return Trained(encoders={"text": model}, rows=rows, targets=data.languages, details=details)


def _fitted(
    title: str, model: nn.Module, rows: Rows, validation: Rows | None, epochs: int, seed: int, progress: Progress
) -> None:
    settings = TrainerSettings(epochs=epochs, label_smoothing=0.05, warm_up_epochs=0.5, seed=seed, threads=1)
    groups = parameter_groups(model, learning_rate=2e-3, weight_decay=0.02, scale_learning_rate=2e-2)
    with progress.stage(title, epochs) as stage:
        fit(model, rows, validation, settings, groups=groups, report=lambda record: _told(stage, record))


def _accuracy(model: nn.Module, rows: Rows) -> dict[str, float]:
    """Return the share of right answers and its 95 % interval."""
    found = evaluate(model, rows, ["accuracy"])["accuracy"]
    return {"value": found.value, "low": found.low, "high": found.high}


def _told(stage: Stage, record: EpochRecord) -> None:
    stage.note(f"loss {record.loss:.2f}")
    stage.advance()


def _text_processor() -> TextProcessor:
    entry = recipe_from_file(FOLDER / "recipe.yaml").modalities["text"]
    made = processor_from_settings("text", entry.kind, entry.settings, entry.limits, FOLDER / "assets" / "text")
    return cast(TextProcessor, made)


def _data(processor: TextProcessor, seed: int) -> _Data:
    """Return rows of words; no word of the test is among those that were learned from or validated on."""
    words, languages = typed_words(8 * (TRAIN_ROWS + VALIDATION_ROWS), seed)
    seen: dict[str, int] = dict(zip(words, languages, strict=True))
    known, theirs = list(seen)[: TRAIN_ROWS + VALIDATION_ROWS], list(seen.values())[: TRAIN_ROWS + VALIDATION_ROWS]
    fresh = dict(zip(*typed_words(60 * TEST_ROWS, seed + 1), strict=True))
    test = {word: language for word, language in fresh.items() if word not in seen}
    held_out, answers = list(test)[:TEST_ROWS], list(test.values())[:TEST_ROWS]
    return _Data(
        _rows(processor, known[:TRAIN_ROWS], theirs[:TRAIN_ROWS]),
        _rows(processor, known[TRAIN_ROWS:], theirs[TRAIN_ROWS:]),
        _rows(processor, held_out, answers),
        held_out,
        answers,
    )


def _rows(processor: TextProcessor, words: list[str], languages: list[int]) -> Rows:
    ids = decode_rows(processor, [word.encode() for word in words], absent="required", on_bad_payload="fail").values
    return rows_from_tensors({"text": torch.from_numpy(ids)}, torch.tensor(languages))


def _scanned_digits() -> Rows:
    """Return scikit-learn's digits as sequences of grey levels."""
    scans = load_digits()
    return rows_from_tensors({"pixels": torch.from_numpy(scans.data).long()}, torch.from_numpy(scans.target).long())
