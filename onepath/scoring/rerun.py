"""Measuring a bundle's proofs again: from its own probes, in ONNX Runtime, here and now, without any training code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from onepath.contract.answers import answers_from_bundle
from onepath.contract.bundle import Bundle
from onepath.contract.distances import WORST_CASE, largest
from onepath.contract.errors import BundleIntegrityError, ScoringError
from onepath.contract.graphs import GraphEntry
from onepath.contract.manifest import Manifest
from onepath.contract.presence import accepted_patterns, pattern_name, sampled_patterns
from onepath.contract.probe_tolerances import probe_tolerance
from onepath.contract.probes import ProbeSet
from onepath.contract.proofs import BOUNDS, MAIN_LINE, Measurement, Metric
from onepath.contract.stages import CAST, RAW_STAGES, SERVED, Link, graph_stage, links_of, stages_of
from onepath.contract.weights_in_graph import weights_in_graph
from onepath.scoring.batch_checks import batches_check
from onepath.scoring.checks import Check, compared
from onepath.scoring.comparing import comparisons_again
from onepath.scoring.probe_runs import answers_now
from onepath.scoring.served import SERVED_ROUNDING, as_served
from onepath.scoring.settings import EngineSettings
from onepath.scoring.unmeasured import not_measured

Answers = Mapping[str, NDArray[np.float64]]

_MOST_NAMED = 8


def rerun(bundle: Bundle, settings: EngineSettings | None = None) -> list[Check]:
    """Return every check of a bundle's proofs that it allows by itself, in the order of the chain.

    Each stored stage is held against the one before it by the step's metric and tolerance, and against the error that
    the step recorded. Each graph is run on the probes and held against its stored answers, against what the probes
    expect, and, end to end, against the first stage within the sum of the tolerances between them. It has to answer
    the same in batches of other sizes, up to the most rows that it takes. The float32 graph is run on the other rows
    that it was proved on, too, as far as the bundle keeps them.

    Args:
        bundle: an opened one.
        settings: how ONNX Runtime uses the machine.

    Raises:
        BundleIntegrityError: the stored answers are not those of this bundle, or a probe cannot be decoded.
        MissingExtraError: onnxruntime or a decoder is not installed.
    """
    manifest = bundle.manifest
    probes, expected = _probes(bundle)
    stored = answers_from_bundle(manifest, bundle.path, probes=len(probes.rows))
    checks: list[Check] = []
    for link in links_of(manifest) if stored else ():
        if link.proof.step == "onnx":
            checks += _served_checks(manifest, stored, expected)
        checks += _stored_checks(link, stored)
    for graph in manifest.graphs:
        try:
            now = answers_now(bundle, probes, graph, settings)
        except ScoringError as error:
            checks.append(_not_run(graph, error))
            continue
        checks += _graph_checks(graph, manifest, now.once, stored)
        tolerance = probe_tolerance(manifest.model_copy(update={"graph": graph, "engines": ()}), largest(expected))
        checks.append(compared(graph.file, "now to what the probes expect", (expected, now.once), tolerance=tolerance))
        if stored:
            checks.append(batches_check(graph, manifest, now, stored[graph_stage(graph, manifest)]))
        else:
            checks.append(batches_check(graph, manifest, now, expected, least=tolerance))
    checks += comparisons_again(bundle, probes, settings)
    checks += [_patterns_check(manifest, probes), _weights_check(bundle)]
    return [*checks, *not_measured(manifest, checks, has_answers=bool(stored))]


def _probes(bundle: Bundle) -> tuple[ProbeSet, NDArray[np.float64]]:
    probes = bundle.probes
    try:
        expected = probes.expected().astype(np.float64)
        if expected.ndim != 2 or not np.isfinite(expected).all():
            raise ValueError("their expected answers are not of one width, or no numbers")
    except ValueError as error:
        problem = f"does not hold probes ({' '.join(str(error).split())[:200]})"
        raise BundleIntegrityError(bundle.manifest.probes, problem, root=str(bundle.path)) from error
    return probes, expected


def _stored_checks(link: Link, stored: Answers) -> Iterator[Check]:
    """Yield how far two stored stages are apart, by each metric that the proof was measured by on the probes."""
    subject: str = link.proof.step
    measured = _on_probes(link)
    if link.before not in stored and measured:
        yield Check(subject, link.title, "broken", note=f"was measured, and the bundle has no answers of {link.before}")
        return
    if link.before not in stored:
        why = "the models that were merged are not in the bundle, nor what they answer"
        yield Check(subject, f"{link.before} to {link.after}", "not measured", note=why)
        return
    for each in measured:
        yield compared(
            subject,
            each.inputs,
            (stored[link.before], stored[link.after]),
            tolerance=each.tolerance,
            metric=each.metric,
            recorded=each.error,
        )
    bounds = [each.tolerance for each in measured if each.metric in BOUNDS]
    if not bounds:
        yield Check(subject, link.title, "broken", note="was not measured on the probes when the bundle was built")


def _served_checks(manifest: Manifest, stored: Answers, expected: NDArray[np.float64]) -> Iterator[Check]:
    served = as_served(stored[CAST], manifest)
    tolerance = SERVED_ROUNDING * largest(served)
    yield compared("torch", f"{CAST} to {SERVED}", (served, stored[SERVED]), tolerance=tolerance)
    yield compared("probes", f"{SERVED} to what they expect", (stored[SERVED], expected), tolerance=0.0)


def _graph_checks(graph: GraphEntry, manifest: Manifest, now: NDArray[np.float64], stored: Answers) -> Iterator[Check]:
    if not stored:
        return
    stage = graph_stage(graph, manifest)
    links = _links_to(stage, manifest)
    own = _by_metric(links[-1]) if not graph.is_reference else {}
    scales = {"max_abs": 1.0, "max_relative": largest(stored[stage])}
    seen = [own[metric].error * scale for metric, scale in scales.items() if metric in own]
    tolerance = max([manifest.probe_tolerance, *seen])  # no more than the precision itself was seen to cost
    yield compared(graph.file, f"now to {stage} as stored", (stored[stage], now), tolerance=tolerance)
    for metric, each in own.items():
        reference = stored[links[-1].before]
        yield compared(
            graph.file, f"now to {links[-1].before}", (reference, now), tolerance=each.tolerance, metric=metric
        )
    yield _end_to_end(graph, manifest, links, now, stored)


def _end_to_end(
    graph: GraphEntry, manifest: Manifest, links: Sequence[Link], now: NDArray[np.float64], stored: Answers
) -> Check:
    """Return the check of a graph against the first stage that is stored, within all tolerances between them."""
    first = next(stage for stage in stages_of(manifest) if stage in stored)
    raw = largest(stored[first])
    served = as_served(stored[first], manifest)
    bound = SERVED_ROUNDING * largest(served)
    for link in links:
        if link.before not in stored:
            continue
        found = _by_metric(link)
        scale = raw if link.after in RAW_STAGES else largest(served)
        if "max_relative" in found:
            bound += found["max_relative"].tolerance * scale
        elif "max_abs" in found:
            bound += found["max_abs"].tolerance
        else:
            note = f"{link.title} has no bound on the largest difference"
            return Check(graph.file, f"now to {first}, end to end", "not measured", note=note)
    return compared(graph.file, f"now to {first}, end to end", (served, now), tolerance=bound)


def _links_to(stage: str, manifest: Manifest) -> list[Link]:
    """Return the links that lead to a graph's stage, from the first on."""
    links = links_of(manifest)
    main = [link for link in links if link.proof.step in MAIN_LINE]
    return main if stage == main[-1].after else [*main, next(link for link in links if link.after == stage)]


def _on_probes(link: Link) -> list[Measurement]:
    return [each for each in link.proof.measurements if each.inputs == link.title and each.metric in WORST_CASE]


def _by_metric(link: Link) -> dict[Metric, Measurement]:
    return {each.metric: each for each in _on_probes(link)}


def _patterns_check(manifest: Manifest, probes: ProbeSet) -> Check:
    """Return whether each presence pattern that the model accepts is among the probes; of the others some are named."""
    names = manifest.modality_names
    required = [entry.name for entry in manifest.modalities if entry.absent == "required"]
    found = {pattern_name(name for name in names if name in row.payloads) for row in probes.rows}
    accepted = accepted_patterns(names, required)
    measured = f"{len(found)} of {accepted} presence patterns"
    if len(found) >= accepted:
        return Check("probes", measured, "ok")
    missing = [each for each in map(pattern_name, sampled_patterns(names, required=required)) if each not in found]
    note = f"no probe is of {', '.join(missing[:_MOST_NAMED])}{' and others' * (len(missing) > _MOST_NAMED)}"
    return Check("probes", measured, "not measured", note=note)


def _weights_check(bundle: Bundle) -> Check:
    """Return whether the float32 graph holds the bundle's weights; those that were folded into others are named.

    They are others than the graph's if none is there, or fewer than half where no pass could have folded them.
    """
    manifest = bundle.manifest
    try:
        found = weights_in_graph(bundle.path / manifest.weights, bundle.path / manifest.reference.file)
    except ValueError as error:
        return Check("weights", "in the float32 graph", "broken", note=str(error))
    here, missing = len(found.equal) + len(found.transposed), len(found.missing)
    measured = f"{here} of {here + missing} in the float32 graph"
    if missing and (here == 0 or (here < missing and not _has_passes(manifest))):
        return Check("weights", measured, "broken", note="they are not the graph's")
    if missing:
        return Check("weights", measured, "not measured", note=f"folded or left out: {', '.join(found.missing)}")
    return Check("weights", measured, "ok", note=f"{len(found.transposed)} of them transposed")


def _has_passes(manifest: Manifest) -> bool:
    return any(proof.step in ("fold", "fuse") for proof in manifest.proofs)


def _not_run(graph: GraphEntry, error: ScoringError) -> Check:
    lacks_an_operator = type(error.__cause__).__name__ == "NotImplemented"  # as ONNX Runtime names it
    if lacks_an_operator and graph.has_16_bits:
        note = f"computes in {graph.precisions}, of which ONNX Runtime lacks operators here"
        return Check(graph.file, "run now", "not measured", note=note)
    return Check(graph.file, "run now", "broken", note=str(error))
