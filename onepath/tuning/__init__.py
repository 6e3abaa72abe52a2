"""Measuring which deployment settings suit a bundle on this machine, through a real Triton, under a latency bound."""

from onepath.tuning.amending import write_choice
from onepath.tuning.errors import TuningError
from onepath.tuning.report import TuningReport
from onepath.tuning.run import tune
from onepath.tuning.settings import Goal, Load, TuneSettings

__all__ = ["Goal", "Load", "TuneSettings", "TuningError", "TuningReport", "tune", "write_choice"]
