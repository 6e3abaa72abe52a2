"""The proof of a collapse: in float64 against the multi-path model, then cast once and proved again."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from torch import nn

from onepath.contract.answers import Answers
from onepath.contract.digests import sha256_from_bytes
from onepath.contract.proofs import Measurement, ProofStep
from onepath.contract.stages import CAST, COLLAPSE_REFERENCE
from onepath.export.collapse import CollapseReport, collapse
from onepath.export.proofs import Batch, Seen, compare, digest_from_model, safetensors_from_model
from onepath.export.proving.probes import first_output, measured_on_probes
from onepath.export.proving.running import (
    call_dispatched,
    in_float64,
    row_by_row,
    run_dispatched,
    run_every_row,
    titled,
    whole_rows,
)
from onepath.export.rows import RowSource
from onepath.export.tolerances import Tolerances
from onepath.merging.multimodal import MultimodalModel


@dataclass(frozen=True)
class Collapsed:
    """A collapsed model with its proof.

    Attributes:
        model: float32, in eval mode, of one path of weights.
        weights: its state dict as safetensors.
        report: what was folded.
        proof: the link of the chain.
        answers: of the model before, after and cast, to the golden probes, where these were given.
        seen: what was compared on other rows.
    """

    model: MultimodalModel
    weights: bytes
    report: CollapseReport
    proof: ProofStep
    answers: Answers = field(default_factory=dict)
    seen: tuple[Seen, ...] = ()


def prove_collapse(
    model: nn.Module,
    *,
    source: RowSource,
    tolerances: Tolerances,
    seed: int,
    probes: Batch | None = None,
    before: str = COLLAPSE_REFERENCE,
    known: Answers | None = None,
    also: Sequence[str] = (),
) -> Collapsed:
    """Return the collapsed model, proved in float64 on random and held-out rows, then cast once and proved again.

    Args:
        model: of several paths.
        source: held-out rows.
        tolerances: what each comparison may be off by.
        seed: of the random rows.
        probes: the golden probes, to be proved on too and to keep the answers to.
        before: the stage that the model is, `merge` for a merged one.
        known: answers to the probes that need not be asked for again: the model's own.
        also: names of opt-in rules to apply besides the others, as `collapse` takes them.

    Raises:
        ParityError: a form is too far from the one before it.
        UnknownPluginError: no rule of a name is installed.
        UnsupportedModuleError: a part of the model cannot be collapsed exactly.
    """
    original = in_float64(model)
    example = whole_rows(source, 1)
    plain, report = collapse(
        cast(nn.Module, original),
        also=also,
        example=lambda model: call_dispatched(cast(MultimodalModel, model), example),
    )
    forms = _Forms(original, cast(MultimodalModel, plain), cast(MultimodalModel, copy.deepcopy(plain).float().eval()))
    seen: list[Seen] = []
    measured = forms.measured(source, tolerances, seed, seen)
    answers: Answers = {} if probes is None else forms.answers(before, probes, known or {})
    weights = safetensors_from_model(cast(nn.Module, forms.rounded))
    flops = (
        {} if report.flops_after is None else {"flops_before": report.flops_before, "flops_after": report.flops_after}
    )
    proof = ProofStep(
        step="collapse",
        subject="model",
        reads=digest_from_model(model),
        writes=sha256_from_bytes(weights),
        measurements=measured + _on_probes(answers, before, tolerances),
        notes={
            "parameters_before": report.parameters_before,
            "parameters_after": report.parameters_after,
            **flops,
        },
    )
    return Collapsed(forms.rounded, weights, report, proof, answers, tuple(seen))


@dataclass(frozen=True)
class _Forms:
    """A model before its collapse and after it, in float64, and then cast to float32."""

    original: MultimodalModel
    plain: MultimodalModel
    rounded: MultimodalModel

    def measured(
        self, source: RowSource, tolerances: Tolerances, seed: int, seen: list[Seen]
    ) -> tuple[Measurement, ...]:
        """Return how far the forms are from each other, and the rows of a batch from the same ones alone."""
        batches = [source.random(3, seed), source.mixed(1), source.mixed(9), *source.each_pattern(2)]
        run_plain = partial(run_dispatched, self.plain)
        folded = compare(
            "collapse",
            reference=partial(run_every_row, self.original),
            candidate=run_plain,
            batches=[titled(batch, "float64") for batch in batches],
            tolerance=tolerances.collapse,
            relative=True,
            computed_in="float64",
            seen=seen,
        )
        apart = compare(
            "row independence",
            reference=partial(row_by_row, run_plain),
            candidate=run_plain,
            batches=[
                titled(source.mixed(9), "float64, together and each alone"),
                titled(source.random(3, seed), "float64, together and each alone"),
                whole_rows(source, 3),
            ],
            tolerance=tolerances.collapse,
            relative=True,
            computed_in="float64",
            seen=seen,
        )
        rounded = compare(
            "cast to float32",
            reference=run_plain,
            candidate=partial(run_dispatched, self.rounded),
            batches=[titled(batch, "float32 against float64") for batch in batches],
            tolerance=tolerances.cast,
            relative=True,
            seen=seen,
        )
        return folded + apart + rounded

    def answers(self, before: str, probes: Batch, known: Answers) -> Answers:
        """Return what each form answers to the golden probes."""
        return {
            before: known[before] if before in known else first_output(run_every_row(self.original, probes)),
            "collapse": first_output(run_dispatched(self.plain, probes)),
            CAST: first_output(run_dispatched(self.rounded, probes)),
        }


def _on_probes(answers: Answers, before: str, tolerances: Tolerances) -> tuple[Measurement, ...]:
    if not answers:
        return ()
    folded = measured_on_probes(
        "collapse",
        answers,
        before,
        "collapse",
        tolerances={"max_relative": tolerances.collapse},
        computed_in="float64",
    )
    return folded + measured_on_probes(
        "cast to float32", answers, "collapse", CAST, tolerances={"max_relative": tolerances.cast}
    )
