"""How good a bundle is when modalities are missing: measured, drawn, and held against the recipe's gates."""

from onepath.contract.robustness import RobustnessReport
from onepath.export.robustness.files import files_of_report
from onepath.export.robustness.gates import check_gates
from onepath.export.robustness.heat_map import heat_map
from onepath.export.robustness.report import ReportSettings, robustness_report

__all__ = ["ReportSettings", "RobustnessReport", "check_gates", "files_of_report", "heat_map", "robustness_report"]
