"""Whether a graph answers the probes alike whatever the size of the batch that they are in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onepath.contract.distances import largest
from onepath.contract.graphs import GraphEntry
from onepath.contract.manifest import Manifest
from onepath.contract.stages import graph_stage, links_of
from onepath.scoring.checks import Check, compared
from onepath.scoring.probe_runs import ProbeAnswers


def batches_check(
    graph: GraphEntry, manifest: Manifest, now: ProbeAnswers, reference: NDArray[np.float64], *, least: float = 0.0
) -> Check:
    """Return the check of a graph's answers in batches of every size that it was run in, by the worst of them.

    The float32 graph has the tolerance that its proof has on the probes; a graph of another precision, whose rows may
    depend on their company, the loosest of its proof, and no less than a serving engine has on a probe.

    Args:
        graph: one of the bundle's.
        manifest: the bundle's.
        now: what the graph answers.
        reference: what it has to answer to each probe, `(probes, width)`.
        least: no tolerance is below this.
    """
    expected = [reference[np.arange(len(found)) % len(reference)] for found in now.in_batches.values()]
    answers = np.concatenate(expected), np.concatenate([*now.in_batches.values()])
    tolerance = max(least, _tolerance(graph, manifest, largest(reference)))
    return compared(graph.file, _in_words([*now.in_batches]), answers, tolerance=tolerance)


def _tolerance(graph: GraphEntry, manifest: Manifest, scale: float) -> float:
    link = next(link for link in links_of(manifest) if link.after == graph_stage(graph, manifest))
    every = link.proof.measurements
    measured = [each for each in every if each.inputs == link.title] if graph.is_reference else every
    scales = {"max_abs": 1.0, "max_relative": scale}
    bounds = [each.tolerance * scales[each.metric] for each in measured if each.metric in scales]
    if graph.is_reference and bounds:
        return max(bounds)
    return max([manifest.probe_tolerance, *bounds])


def _in_words(sizes: list[int]) -> str:
    *others, last = map(str, sizes)
    first = f"{', '.join(others)} and " if others else ""
    return f"the probes in batches of {first}{last} row{'s' * (sizes != [1])}"
