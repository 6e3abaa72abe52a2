"""The four pipelines: for each modality a model, what its processor must give it, and how it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.presets.constants import (
    AUDIO_DATA_SETS,
    CROP_FRACTION,
    IMAGENET,
    KINETICS,
    POINT_DATA_SETS,
    POINT_HEADS,
    ClipConstants,
    PointConstants,
    SpectrogramConstants,
)
from onepath.merging.presets.fbank import Fbank, FbankSettings
from onepath.merging.presets.masking import GridMasking
from onepath.merging.presets.point_transformer import GROUP_WIDTHS, PointTransformer
from onepath.merging.presets.preparation import pixel_preparation
from onepath.merging.presets.tokenizers import image_patches, spectrogram_patches, tubelets
from onepath.merging.presets.training_recipes import (
    AUDIO_FINE_TUNING,
    IMAGE_FINE_TUNING,
    IMAGE_LINEAR_PROBE,
    POINT_FINE_TUNING,
    VIDEO_FINE_TUNING,
    TrainingRecipe,
)
from onepath.merging.presets.transformer import TransformerSettings
from onepath.merging.presets.vision_transformer import Pooling, VisionForm, VisionTransformer

_T = TypeVar("_T")
Size = Literal["micro", "tiny", "small", "base", "large", "huge"]
SIZES: Mapping[Size, TransformerSettings] = MappingProxyType(
    {
        "micro": TransformerSettings(64, 4, 4),
        "tiny": TransformerSettings(192, 12, 3),
        "small": TransformerSettings(384, 12, 6),
        "base": TransformerSettings(),
        "large": TransformerSettings(1024, 24, 16),
        "huge": TransformerSettings(1280, 32, 16),
    }
)
"""The common sizes; two models of one size can be joined by a pathway, and `micro` is for small data."""


@dataclass(frozen=True)
class Preset:
    """One modality's pipeline.

    Attributes:
        model: `values (rows, …) -> logits (rows, classes)`, untrained, in training mode.
        kind: the plug-in that decodes, for a recipe's `modalities`.
        settings: the plug-in's, for the same place; the model takes what they make.
        training: the published recipe; its token masking is in the model, and drop path at the rate that was asked for.
    """

    model: nn.Module
    kind: str
    settings: Mapping[str, Any]  # the plug-in's own
    training: TrainingRecipe


def image_preset(
    size: Size = "base",
    *,
    classes: int = 1000,
    side: int = 224,
    patch: int = 16,
    channels: Literal[1, 3] = 3,
    pooling: Pooling = "mean",
    probe: bool = False,
    drop_path: float = 0.1,
) -> Preset:
    """Return the pipeline of images: 14 × 14 patches and a class token at the base size.

    Up to 224 pixels the processor scales the short side to `side` / 0.875 and gives the centre square, of which the
    model takes the centre of `side` pixels; above, it scales to `side` and the model takes all.

    Args:
        size: of the blocks.
        classes: number of logits.
        side: of the square that is seen, in pixels.
        patch: side of a patch in pixels.
        channels: 3, or 1 for luminance.
        pooling: the mean of the patches, as published, or the class token, as in timm's ViT.
        probe: for the linear probe: a normalised head, trained with the scales λ alone; see
            `onepath.merging.reparameterization.set_training_mode`.
        drop_path: rate of stochastic depth.
    """
    cropped = side <= 224
    seen = int(side / CROP_FRACTION) if cropped else side
    settings = replace(SIZES[size], drop_path=drop_path)
    model = VisionTransformer(
        pixel_preparation(IMAGENET, channels, (side, side) if cropped else None),
        image_patches((side, side), patch=patch, channels=channels, width=settings.width),
        settings,
        classes=classes,
        form=VisionForm(pooling=pooling, head_norm=probe),
    )
    plugin = {"height": seen, "width": seen, "channels": channels, "fit": "crop", "resample": "bicubic"}
    return Preset(model, "image", plugin, IMAGE_LINEAR_PROBE if probe else IMAGE_FINE_TUNING)


def audio_preset(
    size: Size = "base",
    *,
    data: str | SpectrogramConstants = "audioset",
    classes: int = 527,
    patch: int = 16,
    stride: int | None = None,
    filterbank: FbankSettings | None = None,
    drop_path: float = 0.1,
) -> Preset:
    """Return the pipeline of sounds: 64 × 8 patches of a log-mel spectrogram and a class token for AudioSet.

    The published position table is frozen, and zero until weights are loaded; this one starts as MAE's fixed table. In
    training 0.2 of the times and 0.2 of the frequencies are left out.

    Args:
        size: of the blocks.
        data: one of `AUDIO_DATA_SETS`, or constants of another data set.
        classes: number of logits.
        patch: side of a patch, in frames and bands.
        stride: from patch to patch, the patch's side without it; 10 is the published overlapping form, 101 × 12.
        filterbank: rate, bands and window, where they are not the published ones; its frames, mean and deviation are
            those of `data`.
        drop_path: rate of stochastic depth.

    Raises:
        UnsupportedModuleError: the data set is not known.
    """
    constants = _known(data, AUDIO_DATA_SETS, "data set of sounds") if isinstance(data, str) else data
    bank = replace(
        filterbank or FbankSettings(), frames=constants.frames, mean=constants.mean, deviation=constants.deviation
    )
    settings = replace(SIZES[size], drop_path=drop_path)
    patches = spectrogram_patches((bank.frames, bank.bands), patch=patch, stride=stride or patch, width=settings.width)
    model = VisionTransformer(
        Fbank(bank),
        patches,
        settings,
        classes=classes,
        form=VisionForm(positions="frozen"),
        masking=GridMasking(*patches.grid),
    )
    plugin = {"sample_rate_hz": bank.sample_rate_hz, "seconds": constants.seconds}
    return Preset(model, "audio", plugin, AUDIO_FINE_TUNING)


def video_preset(
    size: Size = "base",
    *,
    clip: ClipConstants = KINETICS,
    classes: int = 400,
    tubelet: tuple[int, int, int] = (2, 16, 16),
    channels: Literal[1, 3] = 3,
    drop_path: float = 0.1,
) -> Preset:
    """Return the pipeline of clips: 8 × 14 × 14 tubelets and no class token at the published size.

    Queries and values have a bias each and keys have none. The positions are fixed; the head starts at a thousandth.

    Args:
        size: of the blocks.
        clip: frames, their rate and their side.
        classes: number of logits.
        tubelet: frames, rows and columns of one.
        channels: 3, or 1 for luminance.
        drop_path: rate of stochastic depth.
    """
    settings = replace(SIZES[size], drop_path=drop_path, qkv_bias="query_value")
    model = VisionTransformer(
        pixel_preparation(IMAGENET, channels),
        tubelets((clip.frames, clip.side, clip.side), tubelet=tubelet, channels=channels, width=settings.width),
        settings,
        classes=classes,
        form=VisionForm(class_token=False, positions="sinusoid", head_scale=0.001),
    )
    plugin = {
        "frames": clip.frames,
        "stride": clip.rate,
        "height": clip.side,
        "width": clip.side,
        "channels": channels,
        "fit": "crop",
        "resample": "bilinear",
    }
    return Preset(model, "video", plugin, VIDEO_FINE_TUNING)


def point_preset(
    size: Size = "base",
    *,
    data: str | PointConstants = "modelnet40",
    classes: int = 40,
    heads: int | None = None,
    group_widths: tuple[int, int, int] = GROUP_WIDTHS,
    drop_path: float = 0.0,
) -> Preset:
    """Return the pipeline of point clouds: 64 groups of 32 points and a class token for ModelNet40.

    Args:
        size: of the blocks.
        data: one of `POINT_DATA_SETS`, or constants of another data set.
        classes: number of logits.
        heads: of each attention; as published, 6 at the base size and at 384, else those of the size.
        group_widths: of the tokenizer's hidden layers.
        drop_path: rate of stochastic depth.

    Raises:
        UnsupportedModuleError: the data set is not known.
    """
    constants = _known(data, POINT_DATA_SETS, "data set of point clouds") if isinstance(data, str) else data
    chosen = heads or (POINT_HEADS if size == "base" else SIZES[size].heads)
    settings = replace(SIZES[size], heads=chosen, drop_path=drop_path, qkv_bias="none", norm_eps=1e-5)
    plugin = {
        "points": constants.points,
        "normalise": "unit_sphere" if constants.unit_sphere else "none",
        "groups": {"count": constants.groups, "neighbours": constants.neighbours},
    }
    model = PointTransformer(settings, classes=classes, group_widths=group_widths)
    return Preset(model, "point_cloud", plugin, POINT_FINE_TUNING)


def _known(name: str, table: Mapping[str, _T], what: str) -> _T:
    if name not in table:
        raise UnsupportedModuleError(
            f"the {what} {name!r}", "its constants are not published", f"give one of {', '.join(table)}, or constants"
        )
    return table[name]
