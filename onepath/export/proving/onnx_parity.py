"""The proof of an export, and of each pass over its graph: ONNX Runtime answers as before, whatever it is fed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import onnxruntime as ort

from onepath.contract.errors import UnsupportedModuleError
from onepath.contract.proofs import Measurement, ProofStep
from onepath.export.graphs.dispatch import PresenceGraph
from onepath.export.graphs.onnx_file import OnnxFile
from onepath.export.proofs import Arrays, Batch, Seen, compare, digest_from_model
from onepath.export.proving.running import row_by_row, run_graph, titled
from onepath.export.proving.sessions import GraphSession
from onepath.export.rows import RowSource
from onepath.export.tolerances import Tolerances

_DEGENERATE_ROWS = 3
_ROWS_ALONE = 9
_ALONE = "together, against torch one by one"


@dataclass(frozen=True)
class ParityBatches:
    """What a graph is proved on, decoded once for its export and every pass over it.

    Attributes:
        near: held-out rows in mixed patterns at every batch size that is of interest, in each pattern, and with odd
            states: their answers may differ by the tolerance `onnx`.
        far: random rows and extreme values, which lie far from the data: by `onnx_random`.
        together: held-out rows, and random ones, that are compared with themselves one by one.
        no_rows: none at all.
    """

    near: tuple[Batch, ...]
    far: tuple[Batch, ...]
    together: tuple[Batch, Batch]
    no_rows: Batch


def parity_batches(source: RowSource, max_batch_size: int, seed: int) -> ParityBatches:
    """Return the batches to prove a graph on: of 1, 2, k, max−1 and max rows, where k is half of max, and degenerate.

    Args:
        source: held-out rows.
        max_batch_size: the most rows of one run.
        seed: of the random rows.
    """
    sizes = sorted({1, 2, max(1, max_batch_size // 2), max(1, max_batch_size - 1), max_batch_size})
    odd, alone = (min(rows, max_batch_size) for rows in (_DEGENERATE_ROWS, _ROWS_ALONE))
    return ParityBatches(
        near=(*(source.mixed(size) for size in sizes), *source.each_pattern(2), *source.odd_states(odd)),
        far=(source.random(max_batch_size, seed), *source.extreme_values(odd)),
        together=(titled(source.mixed(alone), _ALONE), titled(source.random(alone, seed), _ALONE)),
        no_rows=source.without_rows(),
    )


def prove_onnx(
    graph: PresenceGraph,
    file: OnnxFile,
    *,
    batches: ParityBatches,
    tolerances: Tolerances,
    seen: list[Seen] | None = None,
) -> ProofStep:
    """Return the proof that ONNX Runtime answers as torch does, at every batch size and on degenerate rows.

    Args:
        graph: run by torch.
        file: the graph's export.
        batches: what both are run on.
        tolerances: how far the answers may be apart.
        seen: is given what was compared, where it is to be kept.

    Raises:
        ParityError: an answer is too far from torch's.
        UnsupportedModuleError: ONNX Runtime cannot load the graph, or not run it on one of the batches.
    """
    torch_answer = partial(run_graph, graph)
    with GraphSession(file) as session:
        measured = _Measured("onnx", torch_answer, session, batches, tolerances, seen)
        measurements = measured.together() + measured.alone()
        no_rows = _answer_to_no_rows(session, torch_answer, batches.no_rows)
    return ProofStep(
        step="onnx",
        subject="graph",
        reads=digest_from_model(graph.model),
        writes=file.digest,
        measurements=measurements,
        notes={"engine": engine(), "no_rows": no_rows},
    )


def prove_pass(
    before: OnnxFile,
    after: OnnxFile,
    *,
    batches: ParityBatches,
    tolerances: Tolerances,
    seen: list[Seen] | None = None,
) -> tuple[Measurement, ...]:
    """Return how far a graph is from what it was before a pass over it, both run by ONNX Runtime.

    Args:
        before: the graph that the pass read.
        after: the graph that it wrote.
        batches: those of the export's proof.
        tolerances: how far the answers may be apart; those of the export.
        seen: is given what was compared, where it is to be kept.

    Raises:
        ParityError: an answer is too far from the one before.
    """
    with GraphSession(before) as reference, GraphSession(after) as candidate:
        step = "the pass over the graph"
        return _Measured(step, reference, candidate, batches, tolerances, seen).together()


def engine() -> str:
    """Return the name and version of what runs the graphs of these proofs."""
    return f"onnxruntime {ort.__version__}"


@dataclass(frozen=True)
class _Measured:
    """A graph held against what it was made of."""

    step: str
    reference: Callable[[Batch], Arrays]
    candidate: Callable[[Batch], Arrays]
    batches: ParityBatches
    tolerances: Tolerances
    seen: list[Seen] | None

    def together(self) -> tuple[Measurement, ...]:
        """Return how far it is off on rows near the data, and on others."""
        return self._on(self.step, self.reference, self.batches.near, self.batches.far)

    def alone(self) -> tuple[Measurement, ...]:
        """Return how far rows in company are from the same rows alone; held-out ones may be too alike to tell."""
        held_out, random = self.batches.together
        one_by_one = partial(row_by_row, self.reference)
        return self._on("row independence in ONNX Runtime", one_by_one, [held_out], [random])

    def _on(
        self, step: str, reference: Callable[[Batch], Arrays], near: Sequence[Batch], far: Sequence[Batch]
    ) -> tuple[Measurement, ...]:
        measured = partial(compare, step, reference=reference, candidate=self.candidate, seen=self.seen)
        return measured(batches=near, tolerance=self.tolerances.onnx) + measured(
            batches=far, tolerance=self.tolerances.onnx_random
        )


def _answer_to_no_rows(session: GraphSession, torch_answer: Callable[[Batch], Arrays], batch: Batch) -> str:
    """Return what ONNX Runtime does with no rows at all, in words: a server never asks, so either is allowed."""
    try:
        found = session(batch)
    except UnsupportedModuleError as error:
        return f"refused: {' '.join(str(error.__cause__).split())[:200]}"
    expected = torch_answer(batch)
    same = {name: array.shape for name, array in found.items()} == {
        name: array.shape for name, array in expected.items()
    }
    return "answered with no rows" if same else "answered in another shape than torch"
