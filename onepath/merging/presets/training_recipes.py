"""How M2PT trained each modality's transformer, as data: what a trainer needs to do the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Loss = Literal["soft_cross_entropy", "binary_cross_entropy", "cross_entropy"]


@dataclass(frozen=True)
class Augmentation:
    """How training rows are changed at random; what is not given is not done.

    Attributes:
        crop_area: the range of the share of an image that is cut out and scaled to the model's size.
        crop_aspect: the range of that part's width over its height.
        flip: whether half of the images are mirrored, left and right.
        rand_augment: RandAugment's settings in timm's notation.
        random_erasing: probability that a part of an image is erased.
        mixup: parameter of the Beta distribution of two images' weights.
        cutmix: the same of the area that one image gives to another.
        waveform_mixup: probability that a clip is mixed with another, by a weight from Beta(10, 10).
        time_mask: the most frames of a spectrogram that are masked.
        frequency_mask: the most mel bands that are masked.
        token_mask: shares of times and of frequencies whose tokens are left out.
        point_scale: the range of each axis's factor.
        point_shift: the most that each axis is moved.
        repeats: how often a row is drawn, changed each time, for one batch.
    """

    crop_area: tuple[float, float] | None = None
    crop_aspect: tuple[float, float] | None = None
    flip: bool = False
    rand_augment: str | None = None
    random_erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    waveform_mixup: float = 0.0
    time_mask: int = 0
    frequency_mask: int = 0
    token_mask: tuple[float, float] | None = None
    point_scale: tuple[float, float] | None = None
    point_shift: float = 0.0
    repeats: int = 1


@dataclass(frozen=True)
class TrainingRecipe:
    """One published recipe; None stands for what is not published, or not used. The schedule is always a cosine.

    Attributes:
        epochs: in all.
        base_learning_rate: for `reference_batch` rows, see `learning_rate`.
        batch: rows of one step, on all devices and with accumulation.
        reference_batch: rows that the base rate is for; None if the rate does not grow with the batch.
        optimizer: by its common name.
        betas: of AdamW.
        weight_decay: of matrices; vectors and the scales λ of pathways are never decayed.
        layer_decay: factor of the learning rate from a block to the one before it.
        drop_path: rate of stochastic depth in the last block.
        warm_up_epochs: of a linear rise of the learning rate.
        minimum_learning_rate: at the end of the cosine.
        label_smoothing: share of the target that is spread over all classes.
        clip_norm: the largest norm of the gradient.
        loss: of the logits.
        precision: of the activations.
        trained: all parameters, or only the scales λ and the head.
        head_norm: whether batch normalisation without an affine part comes before the head.
        augmentation: of training rows.
    """

    epochs: int
    base_learning_rate: float
    batch: int
    reference_batch: int | None = 256
    optimizer: Literal["adamw", "lars"] = "adamw"
    betas: tuple[float, float] | None = None
    weight_decay: float = 0.05
    layer_decay: float | None = None
    drop_path: float | None = None
    warm_up_epochs: int | None = None
    minimum_learning_rate: float | None = None
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    loss: Loss = "cross_entropy"
    precision: Literal["float32", "float16", "bfloat16"] = "float32"
    trained: Literal["all", "scales_and_head"] = "all"
    head_norm: bool = False
    augmentation: Augmentation = Augmentation()

    @property
    def learning_rate(self) -> float:
        """The highest learning rate, for the recipe's batch.

        >>> IMAGE_FINE_TUNING.learning_rate
        0.002
        """
        if self.reference_batch is None:
            return self.base_learning_rate
        return self.base_learning_rate * self.batch / self.reference_batch


IMAGE_FINE_TUNING = TrainingRecipe(
    epochs=100,
    base_learning_rate=5e-4,
    batch=8 * 32 * 4,
    betas=(0.9, 0.999),
    layer_decay=0.65,
    drop_path=0.1,
    warm_up_epochs=5,
    minimum_learning_rate=1e-6,
    label_smoothing=0.1,
    loss="soft_cross_entropy",
    precision="float16",
    augmentation=Augmentation(
        crop_area=(0.08, 1.0),
        crop_aspect=(3 / 4, 4 / 3),
        flip=True,
        rand_augment="rand-m9-mstd0.5-inc1",
        random_erasing=0.25,
        mixup=0.8,
        cutmix=1.0,
    ),
)
"""ImageNet-1K from MAE's weights; no clipping. Parts are cut out as timm does unless it is told otherwise."""

IMAGE_LINEAR_PROBE = TrainingRecipe(
    epochs=90,
    base_learning_rate=0.1,
    batch=8 * 128 * 16,
    optimizer="lars",
    weight_decay=0.0,
    trained="scales_and_head",
    head_norm=True,
)
"""ImageNet-1K with the blocks fixed. The published optimiser was given the head alone, so that no scale was trained."""

AUDIO_FINE_TUNING = TrainingRecipe(
    epochs=60,
    base_learning_rate=1e-3,
    batch=8 * 8,
    weight_decay=5e-4,
    layer_decay=0.75,
    drop_path=0.1,
    warm_up_epochs=4,
    loss="binary_cross_entropy",
    augmentation=Augmentation(waveform_mixup=0.5, time_mask=192, frequency_mask=48, token_mask=(0.2, 0.2)),
)
"""AudioSet's balanced 20,000 clips."""

VIDEO_FINE_TUNING = TrainingRecipe(
    epochs=90,
    base_learning_rate=7e-4,
    batch=8 * 6,
    betas=(0.9, 0.999),
    layer_decay=0.75,
    drop_path=0.1,
    warm_up_epochs=5,
    label_smoothing=0.1,
    loss="soft_cross_entropy",
    precision="bfloat16",
    augmentation=Augmentation(
        crop_area=(0.08, 1.0),
        crop_aspect=(3 / 4, 4 / 3),
        flip=True,
        rand_augment="rand-m7-n4-mstd0.5-inc1",
        random_erasing=0.25,
        mixup=0.8,
        cutmix=1.0,
        repeats=2,
    ),
)
"""Kinetics-400; the repeats do not count in the batch. Something-Something is not flipped: its classes have a side."""

POINT_FINE_TUNING = TrainingRecipe(
    epochs=300,
    base_learning_rate=5e-4,
    batch=32,
    reference_batch=None,
    warm_up_epochs=10,
    clip_norm=10.0,
    augmentation=Augmentation(point_scale=(2 / 3, 3 / 2), point_shift=0.2),
)
"""ModelNet40 and ScanObjectNN."""

POINT_FEW_SHOT = replace(POINT_FINE_TUNING, epochs=150)
"""5 or 10 classes, 10 or 20 clouds of each, 10 folds."""
