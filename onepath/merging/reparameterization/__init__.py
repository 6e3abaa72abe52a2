"""Cross-modal re-parameterisation (M2PT): plan, attach, train, collapse."""

from onepath.merging.reparameterization.attach import attach, reparameterize, scales
from onepath.merging.reparameterization.folding import FoldedWeight, collapse_in_place, collapsed_state_dict
from onepath.merging.reparameterization.groups import parameter_groups, train_scales_only
from onepath.merging.reparameterization.pairing import plan_reparameterization
from onepath.merging.reparameterization.plan import Pair, Plan, plan_from_json

__all__ = [
    "FoldedWeight",
    "Pair",
    "Plan",
    "attach",
    "collapse_in_place",
    "collapsed_state_dict",
    "parameter_groups",
    "plan_from_json",
    "plan_reparameterization",
    "reparameterize",
    "scales",
    "train_scales_only",
]
