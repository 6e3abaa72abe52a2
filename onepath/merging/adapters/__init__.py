"""Low-rank adapters on the layers of a model: made or generated, attached, averaged, folded."""

from onepath.merging.adapters.addresses import attached_adapters
from onepath.merging.adapters.attach import attach_adapters
from onepath.merging.adapters.averaging import average_factors, average_updates
from onepath.merging.adapters.folding import FoldedAdapters, fold_adapters
from onepath.merging.adapters.generated import generated_adapter, narrowed_linear
from onepath.merging.adapters.low_rank import LowRankAdapter
from onepath.merging.adapters.new import new_adapters

__all__ = [
    "FoldedAdapters",
    "LowRankAdapter",
    "attach_adapters",
    "attached_adapters",
    "average_factors",
    "average_updates",
    "fold_adapters",
    "generated_adapter",
    "narrowed_linear",
    "new_adapters",
]
