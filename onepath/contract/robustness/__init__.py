"""What a bundle says of rows that lack modalities: its robustness report, and the table that a person reads of it."""

from onepath.contract.robustness.report import (
    HEAT_MAP,
    ROBUSTNESS,
    ROBUSTNESS_VERSION,
    Estimate,
    PatternResult,
    RobustnessReport,
    TaskMetric,
    ZeroFilling,
    robustness_from_bundle,
)
from onepath.contract.robustness.table import estimate_text, number_text, table_headings, table_rows

__all__ = [
    "HEAT_MAP",
    "ROBUSTNESS",
    "ROBUSTNESS_VERSION",
    "Estimate",
    "PatternResult",
    "RobustnessReport",
    "TaskMetric",
    "ZeroFilling",
    "estimate_text",
    "number_text",
    "robustness_from_bundle",
    "table_headings",
    "table_rows",
]
