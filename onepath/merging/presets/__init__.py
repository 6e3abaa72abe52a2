"""M2PT's four modality pipelines as presets: tokenizers, transformers, preprocessing constants and training recipes."""

from onepath.merging.presets.constants import AUDIO_DATA_SETS, ClipConstants, PointConstants, SpectrogramConstants
from onepath.merging.presets.pipelines import (
    SIZES,
    Preset,
    audio_preset,
    image_preset,
    point_preset,
    video_preset,
)
from onepath.merging.presets.transformer import PATHWAY_LAYERS

__all__ = [
    "AUDIO_DATA_SETS",
    "PATHWAY_LAYERS",
    "SIZES",
    "ClipConstants",
    "PointConstants",
    "Preset",
    "SpectrogramConstants",
    "audio_preset",
    "image_preset",
    "point_preset",
    "video_preset",
]
