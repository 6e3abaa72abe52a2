"""What of a bundle's proofs was measured again, and why the rest was not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onepath.contract.comparisons import COMPARISONS, MOST_STORED_BYTES
from onepath.contract.manifest import Manifest
from onepath.contract.proofs import Measurement, ProofStep
from onepath.contract.stages import links_of
from onepath.scoring.checks import Check

_KEPT = f"the rows and answers that the bundle keeps, at most {MOST_STORED_BYTES // 1000} kB"


def share_measured(manifest: Manifest, checks: Sequence[Check]) -> tuple[int, int]:
    """Return how many of the comparisons of a bundle's proofs were made again, and how many there are.

    Args:
        manifest: the bundle's.
        checks: of `rerun`.
    """
    proofs = manifest.proofs
    every = sum(len(proof.measurements) for proof in proofs)
    return every - sum(len(_left(proof, checks)) for proof in proofs), every


def _left(proof: ProofStep, checks: Sequence[Check]) -> list[Measurement]:
    """Return the measurements of a proof that were not made again."""
    made = {(each.subject, each.measured, each.metric) for each in checks if each.verdict != "not measured"}
    return [each for each in proof.measurements if (proof.step, each.inputs, each.metric) not in made]


def not_measured(manifest: Manifest, checks: Sequence[Check], *, has_answers: bool) -> Iterator[Check]:
    """Yield what a bundle cannot tell by itself.

    Args:
        manifest: the bundle's.
        checks: those that were made.
        has_answers: whether it keeps what each step's result answers to its probes.
    """
    if not has_answers:
        why = "the bundle holds no answers of its stages: a newer onepath builds bundles that do"
        yield Check("every proof", "the stages before the graph", "not measured", note=why)
    titles = {link.title for link in links_of(manifest)} | {check.measured for check in checks}
    for proof in manifest.proofs:
        others = sum(measured.inputs not in titles for measured in _left(proof, checks))
        if others and proof.step != "engine":
            what = f"{others} further comparison{'s' * (others > 1)}"
            yield Check(proof.step, what, "not measured", note=_why_not(proof, manifest))
    for engine in manifest.engines:
        subject = f"engine for {engine.gpu}"
        yield Check(subject, "run now", "not measured", note=f"runs on compute capability {engine.compute_capability}")


def _why_not(proof: ProofStep, manifest: Manifest) -> str:
    """Return why comparisons of a proof on other rows than the probes are not made again."""
    if proof.step == "precision":
        return "on held-out rows, which are not in the bundle"
    if COMPARISONS not in manifest.files:
        return "on rows that are not in the bundle"
    if proof.step == "merge":
        return f"of the parents, which are not in the bundle, or not among {_KEPT}"
    return f"not among {_KEPT}"
