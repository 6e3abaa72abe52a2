"""The stages of a proof chain: the result of each step, and what the first step started from.

The stages before `torch` answer raw, and from there on as served: with probabilities, where the task is classification.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onepath.contract.digests import joined_digest
from onepath.contract.graphs import GraphEntry
from onepath.contract.manifest import Manifest
from onepath.contract.proofs import ProofStep, Step, probes_title

MERGE_REFERENCE = "merge.reference"
"""What merging only the blocks of a row's present modalities gives, in float64."""
COLLAPSE_REFERENCE = "collapse.reference"
"""The multi-path model of a bundle that was not merged, in float64."""
CAST = "cast"
"""The collapsed model in float32, raw."""
SERVED = "torch"
"""The graph that is exported, run by torch: what the probes expect."""

RAW_STAGES = frozenset({MERGE_REFERENCE, "merge", COLLAPSE_REFERENCE, "collapse", CAST})
"""The stages whose answers are raw: logits, where the task is classification."""

GRAPH_STEPS: tuple[Step, ...] = ("onnx", "fold", "fuse")
"""The steps of the main line whose results are graphs."""


@dataclass(frozen=True)
class Link:
    """Two stages of which a proof step says how far they are apart.

    Attributes:
        proof: the step.
        before: the stage that it started from.
        after: its result.
    """

    proof: ProofStep
    before: str
    after: str

    @property
    def title(self) -> str:
        """What the step's measurements on the probes are of, in words."""
        return probes_title(self.before, self.after)


def graph_stage(graph: GraphEntry, manifest: Manifest) -> str:
    """Return the stage of a graph's own answers: the last step of the main line, or its precision's."""
    if not graph.is_reference:
        return f"precision:{graph.precisions}"
    return [proof.step for proof in manifest.proofs if proof.step in GRAPH_STEPS][-1]


def links_of(manifest: Manifest) -> list[Link]:
    """Return the links between the stages of a bundle, in the order of its proofs; an engine has none."""
    return list(_links(manifest))


def _links(manifest: Manifest) -> Iterator[Link]:
    merged = manifest.proofs[0].step == "merge"
    graphs = {joined_digest(manifest.files[name].sha256 for name in graph.files): graph for graph in manifest.graphs}
    last = SERVED
    for proof in manifest.proofs:
        if proof.step == "merge":
            yield Link(proof, MERGE_REFERENCE, "merge")
        elif proof.step == "collapse":
            yield Link(proof, "merge" if merged else COLLAPSE_REFERENCE, "collapse")
            yield Link(proof, "collapse", CAST)
        elif proof.step == "precision" and proof.writes in graphs:
            yield Link(proof, last, graph_stage(graphs[proof.writes], manifest))
        elif proof.step in GRAPH_STEPS:
            yield Link(proof, last, proof.step)
            last = proof.step


def stages_of(manifest: Manifest) -> list[str]:
    """Return every stage that a bundle may have answers of, in the order of its chain.

    All of them must be there but `merge.reference`: the parents of a merge that a recipe made are not run on probes.
    """
    links = links_of(manifest)
    first_graph = next(index for index, link in enumerate(links) if link.before == SERVED)
    names = [name for link in links[:first_graph] for name in (link.before, link.after)]
    return list(dict.fromkeys([*names, SERVED, *(link.after for link in links[first_graph:])]))
