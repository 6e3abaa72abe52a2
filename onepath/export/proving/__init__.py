"""The proofs of a bundle: merge → collapse → ONNX, each measured in float64 or at the precision that is served."""

from onepath.export.proving.collapse import Collapsed, prove_collapse
from onepath.export.proving.merge import prove_merge
from onepath.export.proving.onnx_parity import prove_onnx
from onepath.export.proving.running import run_graph, width_of_logits

__all__ = ["Collapsed", "prove_collapse", "prove_merge", "prove_onnx", "run_graph", "width_of_logits"]
