"""Collapse: the single-path form of a model, by exact rules, one file each."""

from onepath.export.collapse.report import CollapseReport, FoldedLayer
from onepath.export.collapse.rules import CollapseRule, Folding
from onepath.export.collapse.verb import collapse

__all__ = ["CollapseReport", "CollapseRule", "FoldedLayer", "Folding", "collapse"]
