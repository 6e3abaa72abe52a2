"""Why a model cannot be exported, or its graph not be served: which part of it, which line, and what to do."""

from onepath.export.diagnosis.element_types import check_file, origins_of
from onepath.export.diagnosis.failure import failures_told_by_line, refusal_from_failure
from onepath.export.diagnosis.lint import Finding, check_graph_is_clean, lint

__all__ = [
    "Finding",
    "check_file",
    "check_graph_is_clean",
    "failures_told_by_line",
    "lint",
    "origins_of",
    "refusal_from_failure",
]
