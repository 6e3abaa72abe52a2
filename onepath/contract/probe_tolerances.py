"""How far a graph or an engine may be from what the golden probes expect, which is what float32 answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onepath.contract.digests import joined_digest
from onepath.contract.manifest import Manifest
from onepath.contract.proofs import Measurement, ProofStep

_PROBES = "golden probes"
"""What the titles of measurements on the golden probes begin with."""
_TIMES_SEEN = 2.0
_LEAST_SHARE = 0.1


def probe_tolerance(manifest: Manifest, largest: float = 1.0) -> float:
    """Return how far an answer to a probe may be from the expected one, as an absolute difference.

    What is not the float32 graph may be twice as far off as each step that made it was seen to be on these very probes,
    at least a tenth of what that step was allowed, and at most all of it; which is also what counts of a step that was
    not measured on them.

    Args:
        manifest: whose graph and engines are those that answer.
        largest: the largest absolute number that the probes expect, by which relative tolerances are multiplied.
    """
    parts = [tuple(engine.files.values()) for engine in manifest.engines] or [manifest.graph.files]
    digests = [joined_digest(manifest.files[name].sha256 for name in names) for names in parts]
    steps = [sum(_allowed(proof, max(1.0, largest)) for proof in _steps(manifest, digest)) for digest in digests]
    return max(manifest.probe_tolerance, *steps)


def _steps(manifest: Manifest, digest: str) -> Iterator[ProofStep]:
    """Yield the steps that lead from the float32 graph to what has a digest, the last one first."""
    for step in ("engine", "precision"):
        proof = next((proof for proof in manifest.proofs if (proof.step, proof.writes) == (step, digest)), None)
        if proof is not None:
            yield proof
            digest = proof.reads


def _allowed(proof: ProofStep, largest: float) -> float:
    gate = max((each.tolerance * scale for each, scale in _scaled(proof.measurements, largest)), default=0.0)
    on_probes = [each for each in proof.measurements if each.inputs.startswith(_PROBES)]
    seen = [each.error * scale for each, scale in _scaled(on_probes, largest)]
    return min(gate, max(_TIMES_SEEN * max(seen), _LEAST_SHARE * gate)) if seen else gate


def _scaled(measurements: Sequence[Measurement], largest: float) -> Iterator[tuple[Measurement, float]]:
    """Yield the measurements of the largest difference, each with what makes it an absolute one."""
    scales = {"max_abs": 1.0, "max_relative": largest}
    return ((each, scales[each.metric]) for each in measurements if each.metric in scales)
