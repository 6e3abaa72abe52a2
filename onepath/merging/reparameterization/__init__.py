"""Cross-modal re-parameterisation (M2PT): plan, attach, train, collapse."""

from onepath.merging.reparameterization.attach import attach, reparameterize, scales
from onepath.merging.reparameterization.checkpoints import (
    load_attached,
    load_collapsed,
    save_attached,
    save_collapsed,
)
from onepath.merging.reparameterization.depths import Depth
from onepath.merging.reparameterization.folding import FoldedWeight, collapse_in_place, collapsed_state_dict
from onepath.merging.reparameterization.groups import parameter_groups, set_training_mode
from onepath.merging.reparameterization.layer import CrossModalReparameterization
from onepath.merging.reparameterization.light_checkpoints import load_light, save_light
from onepath.merging.reparameterization.pairing import PairingOptions, plan_reparameterization
from onepath.merging.reparameterization.plan import Pair, Plan, Role, plan_from_json
from onepath.merging.reparameterization.scale_names import ScalePer
from onepath.merging.reparameterization.transformer_block import MPTransformer, MPTransformerBlock
from onepath.merging.reparameterization.verification import Verification, random_inputs, verify

__all__ = [
    "CrossModalReparameterization",
    "Depth",
    "FoldedWeight",
    "MPTransformer",
    "MPTransformerBlock",
    "Pair",
    "PairingOptions",
    "Plan",
    "Role",
    "ScalePer",
    "Verification",
    "attach",
    "collapse_in_place",
    "collapsed_state_dict",
    "load_attached",
    "load_collapsed",
    "load_light",
    "parameter_groups",
    "plan_from_json",
    "plan_reparameterization",
    "random_inputs",
    "reparameterize",
    "save_attached",
    "save_collapsed",
    "save_light",
    "scales",
    "set_training_mode",
    "verify",
]
