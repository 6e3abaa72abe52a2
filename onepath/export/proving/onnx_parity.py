"""The proof of an export: ONNX Runtime answers as torch does, at the batch sizes that are served."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import onnxruntime as ort

from onepath.contract.digests import sha256_from_bytes
from onepath.contract.proofs import ProofStep
from onepath.export.dispatch import PresenceGraph
from onepath.export.proofs import Arrays, Batch, compare, digest_from_model
from onepath.export.proving.running import row_by_row, run_graph, titled
from onepath.export.rows import RowSource, feeds_from_batch
from onepath.export.tolerances import Tolerances


def prove_onnx(
    graph: PresenceGraph,
    onnx_bytes: bytes,
    *,
    source: RowSource,
    max_batch_size: int,
    tolerances: Tolerances,
    seed: int,
) -> ProofStep:
    """Return the proof that ONNX Runtime answers as torch does at batch sizes 1, 2, max−1 and max.

    Raises:
        ParityError: an answer is too far from torch's.
    """
    sizes = sorted({1, 2, max(1, max_batch_size - 1), max_batch_size})
    parity = partial(
        compare, "onnx", reference=partial(run_graph, graph), candidate=_onnx_runtime_from_bytes(onnx_bytes)
    )
    held_out = parity(
        batches=[*(source.mixed(size) for size in sizes), *source.each_pattern(2)], tolerance=tolerances.onnx
    )
    alone = compare(
        "row independence in ONNX Runtime",
        reference=partial(row_by_row, partial(run_graph, graph)),
        candidate=_onnx_runtime_from_bytes(onnx_bytes),
        batches=[titled(source.mixed(min(9, max_batch_size)), "together, against torch one by one")],
        tolerance=tolerances.onnx,
    )
    random = parity(batches=[source.random(max_batch_size, seed)], tolerance=tolerances.onnx_random)
    return ProofStep(
        step="onnx",
        subject="graph",
        reads=digest_from_model(graph.model),
        writes=sha256_from_bytes(onnx_bytes),
        measurements=held_out + alone + random,
        notes={"engine": f"onnxruntime {ort.__version__}"},
    )


def _onnx_runtime_from_bytes(onnx_bytes: bytes) -> Callable[[Batch], Arrays]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda batch: dict(zip(names, session.run(None, feeds_from_batch(batch)), strict=True))
