"""The files that a bundle holds of its robustness report."""

from __future__ import annotations

import logging

from onepath.contract.digests import canonical_json
from onepath.contract.errors import MissingExtraError
from onepath.contract.robustness import HEAT_MAP, ROBUSTNESS, RobustnessReport
from onepath.export.robustness.heat_map import heat_map

_LOGGER = logging.getLogger(__name__)


def files_of_report(report: RobustnessReport, *, name: str) -> dict[str, bytes]:
    """Return the files of a report by their path in the bundle: JSON, and the heat map where it can be drawn.

    Args:
        report: the bundle's.
        name: the bundle's, for the picture's title.
    """
    files = {ROBUSTNESS: canonical_json(report.as_json())}
    try:
        return files | {HEAT_MAP: heat_map(report, name=name)}
    except MissingExtraError as error:
        _LOGGER.warning("%s is left out: %s", HEAT_MAP, error)
        return files
