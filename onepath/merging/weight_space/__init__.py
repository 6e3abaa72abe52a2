"""Merging models of one form by their weights, tensor by tensor, and looking over the result."""

from onepath.merging.weight_space.lint import Finding, lint_state_dict
from onepath.merging.weight_space.merge import MergedWeights, TensorReport, merge_state_dicts
from onepath.merging.weight_space.method import WeightMergeMethod
from onepath.merging.weight_space.scope import ScopeRule

__all__ = [
    "Finding",
    "MergedWeights",
    "ScopeRule",
    "TensorReport",
    "WeightMergeMethod",
    "lint_state_dict",
    "merge_state_dicts",
]
