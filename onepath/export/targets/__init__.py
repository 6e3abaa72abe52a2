"""Target profiles: what the servers that a graph is meant for can read, checked when it is exported."""

from onepath.export.targets.checks import check_graph
from onepath.export.targets.profiles import DEFAULT_TARGETS, TargetProfile, known_targets, targets_from_names
from onepath.export.targets.versions import versions_for

__all__ = ["DEFAULT_TARGETS", "TargetProfile", "check_graph", "known_targets", "targets_from_names", "versions_for"]
