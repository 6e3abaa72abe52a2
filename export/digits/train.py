"""The demo's training: encoders apart, a pathway from audio to image, blocks apart, and two fused chains of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from decoded_digits import Examples, examples_from_payloads, processors_from_recipe, values_from_rows
from digit_encoders import DigitEncoder, audio_encoder, image_encoder, text_encoder
from digits_settings import DigitsSettings
from fitting import BATCH, accuracy, fit, loss_of, mapped
from lego_training import fuse_blocks, train_block
from paired_rows import MODALITIES, Corpus, Rows, corpus_from_seed, pair_by_digit
from pathway import attach_pathway, scales_of
from torch import Tensor, nn

from onepath.contract.modality import Processor
from onepath.export.progress import Progress
from onepath.export.trained import Trained
from onepath.merging.lego import LegoFuse
from onepath.modalities.text import TextProcessor


@dataclass(frozen=True)
class Data:
    """The corpus, decoded.

    Attributes:
        train: modality to its own examples, not paired.
        pairs: modality to values, a row each, and their digits.
        test: the held-out rows, encoded.
        test_examples: modality to the test rows' examples.
    """

    train: Mapping[str, Examples]
    pairs: tuple[Mapping[str, Tensor], Tensor]
    test: Rows
    test_examples: Mapping[str, Examples]


def train(settings: Mapping[str, Any], *, seed: int, progress: Progress) -> Trained:
    """Return the demo's parents; see `onepath.export.trained`.

    Args:
        settings: those of `DigitsSettings`.
        seed: decides everything random.
        progress: told of every stage.
    """
    chosen = DigitsSettings.model_validate(dict(settings))
    with _one_thread():
        return _trained(chosen, seed, progress)


def _trained(chosen: DigitsSettings, seed: int, progress: Progress) -> Trained:
    torch.manual_seed(seed)
    processors = processors_from_recipe()
    with progress.stage("data: scanned, spoken and typed digits", 2) as stage:
        corpus = corpus_from_seed(seed, renderings=chosen.renderings)
        stage.advance()
        data = _decoded(corpus, processors, seed)
        stage.advance()
    encoders, details = _encoders(chosen, processors, data, seed, progress)
    blocks = _blocks(encoders, data, chosen, seed, progress)
    return Trained(
        encoders=encoders,
        blocks=blocks,
        fused={order: _fused(order, blocks, data, chosen, seed, progress) for order in ("stack", "weave")},
        rows=data.test.payloads,
        targets=[int(digit) for digit in data.test.digits],
        details=details,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread: its matrices are small here, and results do not depend on the number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _decoded(corpus: Corpus, processors: Mapping[str, Processor], seed: int) -> Data:
    pairs = pair_by_digit(corpus["pairs"], np.random.default_rng(seed))
    test = pair_by_digit(corpus["test"], np.random.default_rng(seed))
    digits = torch.from_numpy(test.digits)
    return Data(
        train={name: examples_from_payloads(processors[name], corpus["train"][name]) for name in MODALITIES},
        pairs=(values_from_rows(processors, pairs), torch.from_numpy(pairs.digits)),
        test=test,
        test_examples={name: Examples(values, digits) for name, values in values_from_rows(processors, test).items()},
    )


def _encoders(
    chosen: DigitsSettings, processors: Mapping[str, Processor], data: Data, seed: int, progress: Progress
) -> tuple[dict[str, DigitEncoder], dict[str, Any]]:
    """Return the trained encoders, the image's with its pathway attached, and what is worth telling of them."""
    encoders = {
        "image": image_encoder(processors["image"].shape[-1]),
        "audio": audio_encoder(processors["audio"].shape[0]),
        "text": text_encoder(_vocabulary_size(processors["text"]), processors["text"].shape[0]),
    }
    epochs = {"image": chosen.image_epochs, "audio": chosen.audio_epochs, "text": chosen.text_epochs}
    for name, encoder in encoders.items():
        _train_encoder(f"{name} encoder, alone", encoder, data.train[name], epochs[name], seed, progress)
    without = _pathway_trained(encoders, data, chosen.pathway_epochs, seed, progress)
    details = {
        "test_rows": len(data.test),
        "test_accuracy": {name: accuracy(encoder, data.test_examples[name]) for name, encoder in encoders.items()},
        "image_test_accuracy_without_pathway": without,
        "pathway_scales": scales_of(encoders["image"]),
    }
    return encoders, details


def _pathway_trained(
    encoders: Mapping[str, DigitEncoder], data: Data, epochs: int, seed: int, progress: Progress
) -> float:
    """Train the image encoder on with a pathway attached; return the test accuracy of as much training without one."""
    image, plain = encoders["image"], copy.deepcopy(encoders["image"])
    attach_pathway(image, encoders["audio"])
    titles = {"image encoder, on with the audio's weights": image, "image encoder, on without them": plain}
    for title, encoder in titles.items():
        _train_encoder(title, encoder, data.train["image"], epochs, seed, progress)
    return accuracy(plain, data.test_examples["image"])


def _vocabulary_size(processor: Processor) -> int:
    return cast(TextProcessor, processor).vocabulary_size


def _train_encoder(
    title: str, encoder: DigitEncoder, examples: Examples, epochs: int, seed: int, progress: Progress
) -> None:
    steps = epochs * (len(examples.digits) // BATCH)
    prepared = mapped(encoder.preparation, examples)
    learning = nn.Sequential(encoder.trunk, encoder.head)
    with progress.stage(title, steps) as stage:
        fit(loss_of(learning, prepared), learning, len(examples.digits), steps=steps, seed=seed, stage=stage)


def _blocks(
    encoders: Mapping[str, DigitEncoder], data: Data, chosen: DigitsSettings, seed: int, progress: Progress
) -> dict[str, nn.Module]:
    blocks: dict[str, nn.Module] = {}
    for name, encoder in encoders.items():
        examples = data.train[name]
        steps = chosen.block_epochs * (len(examples.digits) // BATCH)
        with progress.stage(f"{name} block, alone", steps) as stage:
            blocks[name] = train_block(encoder, examples, steps=steps, seed=seed, stage=stage)
    return blocks


def _fused(
    order: Literal["stack", "weave"],
    blocks: Mapping[str, nn.Module],
    data: Data,
    chosen: DigitsSettings,
    seed: int,
    progress: Progress,
) -> LegoFuse:
    values, digits = data.pairs
    with progress.stage(f"{order}: fused, on {len(digits)} rows", chosen.fuse_steps) as stage:
        return fuse_blocks(blocks, order, values, digits, steps=chosen.fuse_steps, seed=seed, stage=stage)
