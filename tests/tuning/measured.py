"""Measurements with figures that are chosen by hand."""

from onepath.server.settings import DeploySettings
from onepath.tuning.candidates import Candidate
from onepath.tuning.figures import Figures
from onepath.tuning.journal import Context, Entry
from onepath.tuning.machine import Machine
from onepath.tuning.settings import Load

MACHINE = Machine(cpu="a CPU", cores=2, gpus=(), onepath="1", onnxruntime="1", triton="embedded")
CONTEXT = Context(bundle_id="ab" * 32, machine=MACHINE, load=Load(), kind="cpu")
DEFAULT = Candidate(
    settings=DeploySettings(precision="fp32", engine="never", preprocess_instances=2, graph_instances=2), rows=1
)
INT8 = DEFAULT.changed(precision="int8")


def figures(rows_per_s, latency_ms=10.0, cpu_ms=5.0):
    """Return figures whose three latencies are one to the other as 1 : 2 : 3, p95 being the one given."""
    return Figures(
        rows_per_s=rows_per_s, p50_ms=latency_ms / 2, p95_ms=latency_ms, p99_ms=1.5 * latency_ms, cpu_ms_per_row=cpu_ms
    )


def entry(candidate, rows_per_s=None, latency_ms=10.0, *, at_s=0.0, context=CONTEXT, wall_s=5.0):
    """Return the measurement of a candidate; without a speed it failed."""
    if rows_per_s is None:
        return Entry(context=context, candidate=candidate, at_s=at_s, wall_s=wall_s, failure="it did not start")
    made = figures(rows_per_s, latency_ms)
    return Entry(context=context, candidate=candidate, at_s=at_s, wall_s=wall_s, requests=100, figures=made)


def entries(*measured):
    """Return measurements one second apart."""
    return [entry(*each, at_s=float(second)) for second, each in enumerate(measured)]
