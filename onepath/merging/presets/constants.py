"""Preprocessing constants of the four modalities, as published with M2PT's pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, of levels between 0 and 1."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Of images and clips."""

CROP_FRACTION = 224 / 256
"""The centre that is kept of an image in evaluation, up to 224 pixels a side; larger inputs are kept whole."""


@dataclass(frozen=True)
class SpectrogramConstants:
    """What a data set of sounds fixes.

    Attributes:
        frames: of a row; shorter spectrograms are followed by zeros, longer ones cut.
        seconds: of the data set's clips.
        mean: of the log-mel values; a row becomes `(values - mean) / (2 * deviation)`.
        deviation: of the log-mel values.
    """

    frames: int
    seconds: float
    mean: float
    deviation: float


AUDIO_DATA_SETS: Mapping[str, SpectrogramConstants] = MappingProxyType(
    {
        "audioset": SpectrogramConstants(1024, 10.0, -4.2677393, 4.5689974),
        "kinetics-400": SpectrogramConstants(1024, 10.0, -4.2677393, 4.5689974),
        "esc-50": SpectrogramConstants(512, 5.0, -6.6268077, 5.358466),
        "speech-commands": SpectrogramConstants(128, 1.0, -6.845978, 5.5654526),
    }
)
"""Data set of sounds to its constants."""


@dataclass(frozen=True)
class ClipConstants:
    """How a clip is taken from a video: `frames` of them, `rate` source frames apart, `side` pixels square."""

    frames: int
    rate: int
    side: int


KINETICS = ClipConstants(frames=16, rate=4, side=224)
"""Of every video data set of the publication."""


@dataclass(frozen=True)
class PointConstants:
    """How a data set's point clouds are grouped.

    Attributes:
        groups: centres, drawn by farthest-point sampling.
        points: of a cloud.
        neighbours: points in a group.
        unit_sphere: whether clouds are moved to their centroid and scaled to radius 1, or taken as they are.
    """

    groups: int
    points: int
    neighbours: int = 32
    unit_sphere: bool = True


POINT_DATA_SETS: Mapping[str, PointConstants] = MappingProxyType(
    {
        "modelnet40": PointConstants(64, 1024),
        "modelnet-8k": PointConstants(512, 8192),
        "scanobjectnn": PointConstants(128, 2048, unit_sphere=False),
        "shapenet-part": PointConstants(128, 2048),
    }
)
"""Data set of point clouds to its constants."""
POINT_HEADS = 6
"""Heads of the published point transformers, at width 768 too."""
