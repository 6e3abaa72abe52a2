"""Training: one trainer for models of one modality and merged ones, with losses, metrics, sweeps and experiments."""

from onepath.training.data import Batch, Dataset, Rows, Target, only_modality, rows_at, rows_from_tensors, showing
from onepath.training.errors import NonFiniteError, TrainingError, UndefinedMetricError
from onepath.training.evaluation import evaluate
from onepath.training.forward import predictions
from onepath.training.history import EpochRecord, History
from onepath.training.overlap import OverlapResult, OverlapSettings, measure_overlap
from onepath.training.reproducible import reproducible
from onepath.training.settings import TrainerSettings
from onepath.training.splits import Splits, split_rows
from onepath.training.survival import SurvivalTarget, survival_target, time_bin_edges
from onepath.training.sweep import SweepResult, run_sweep
from onepath.training.sweep_plan import SweepPlan, sweep_from_file
from onepath.training.trainer import fit

__all__ = [
    "Batch",
    "Dataset",
    "EpochRecord",
    "History",
    "NonFiniteError",
    "OverlapResult",
    "OverlapSettings",
    "Rows",
    "Splits",
    "SurvivalTarget",
    "SweepPlan",
    "SweepResult",
    "Target",
    "TrainerSettings",
    "TrainingError",
    "UndefinedMetricError",
    "evaluate",
    "fit",
    "measure_overlap",
    "only_modality",
    "predictions",
    "reproducible",
    "rows_at",
    "rows_from_tensors",
    "run_sweep",
    "showing",
    "split_rows",
    "survival_target",
    "sweep_from_file",
    "time_bin_edges",
]
