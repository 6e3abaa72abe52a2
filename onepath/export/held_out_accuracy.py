"""How often a bundle's model is right on held-out rows that a file gives with their targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onepath.export.dispatch import PresenceGraph
from onepath.export.proving import run_graph
from onepath.export.rows import RowSource


def accuracy_on_rows(graph: PresenceGraph, source: RowSource, targets: Sequence[int], *, batch: int) -> float:
    """Return the share of held-out rows, with every modality, whose highest score is their target's, in 0 to 1.

    Args:
        graph: of a classifier, whose first output is its scores.
        source: the rows.
        targets: the class index of each row.
        batch: rows of one run.
    """
    right = 0
    for start in range(0, len(source.rows), batch):
        wanted = np.asarray(targets[start : start + batch])
        rows = source.pattern_rows(source.names, len(wanted), start=start)
        scores = next(iter(run_graph(graph, source.decoded("held-out rows", rows)).values()))
        right += int((scores.argmax(axis=1) == wanted).sum())
    return right / len(source.rows)
