"""The proofs of a bundle: merge → collapse → ONNX, each measured in float64 or at the precision that is served."""

from onepath.export.proving.collapse import Collapsed, prove_collapse
from onepath.export.proving.merge import answers_of_blocks, answers_of_merge, prove_merge
from onepath.export.proving.onnx_parity import prove_onnx
from onepath.export.proving.probes import (
    answers_in_runs,
    first_output,
    measured_on_probes,
    probe_batch,
    probe_rows,
    proved_on_probes,
)
from onepath.export.proving.running import run_graph, width_of_logits

__all__ = [
    "Collapsed",
    "answers_in_runs",
    "answers_of_blocks",
    "answers_of_merge",
    "first_output",
    "measured_on_probes",
    "probe_batch",
    "probe_rows",
    "prove_collapse",
    "prove_merge",
    "prove_onnx",
    "proved_on_probes",
    "run_graph",
    "width_of_logits",
]
