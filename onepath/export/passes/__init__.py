"""Passes over an exported graph: each one is proved against the graph before it, and dropped where it does not pay."""

from onepath.export.passes.fold import fold
from onepath.export.passes.fuse import fuse
from onepath.export.passes.results import GraphPass, GraphSize, PassResult, pays
from onepath.export.passes.running import run_passes

__all__ = ["PASSES", "GraphPass", "GraphSize", "PassResult", "fold", "fuse", "pays", "run_passes"]

PASSES = (GraphPass("fold", fold), GraphPass("fuse", fuse))
"""The passes of a build, in the order of the proof chain."""
