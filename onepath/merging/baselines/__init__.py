"""The fusion methods that merged models are compared with, each able to do without any modality of a row."""

from onepath.merging.baselines.ensemble import Ensemble
from onepath.merging.baselines.healnet import HEALNet
from onepath.merging.baselines.late_fusion import LateFusion
from onepath.merging.baselines.mcat import MCAT
from onepath.merging.baselines.multimodn import MultiModN, state_change_penalty
from onepath.merging.baselines.perceiver import Perceiver
from onepath.merging.baselines.settings import HEALNET, PERCEIVER, LatentSettings
from onepath.merging.baselines.tokens import Source

__all__ = [
    "HEALNET",
    "MCAT",
    "PERCEIVER",
    "Ensemble",
    "HEALNet",
    "LateFusion",
    "LatentSettings",
    "MultiModN",
    "Perceiver",
    "Source",
    "state_change_penalty",
]
