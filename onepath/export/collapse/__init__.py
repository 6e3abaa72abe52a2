"""Collapse: the single-path form of a model, by exact rules, one file each."""

from onepath.export.collapse.report import CollapseReport, FoldedLayer, LeftLayer
from onepath.export.collapse.rules import OPT_IN, CollapseRule, Folding, across_layers
from onepath.export.collapse.verb import collapse

__all__ = [
    "OPT_IN",
    "CollapseReport",
    "CollapseRule",
    "FoldedLayer",
    "Folding",
    "LeftLayer",
    "across_layers",
    "collapse",
]
