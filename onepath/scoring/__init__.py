"""Offline scoring: Parquet in, Parquet out, in this process, with the same preprocessing and graph as the server."""

from onepath.scoring.engine import LocalEngine
from onepath.scoring.pipeline import Pipeline, pipeline_from_bundle
from onepath.scoring.report import ScoreReport
from onepath.scoring.run import score
from onepath.scoring.settings import EngineSettings, ScoreSettings

__all__ = [
    "EngineSettings",
    "LocalEngine",
    "Pipeline",
    "ScoreReport",
    "ScoreSettings",
    "pipeline_from_bundle",
    "score",
]
