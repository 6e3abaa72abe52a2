"""Models that draw random numbers when they answer: no proof can hold of them, and the message says what to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
from torch import nn

from onepath.contract.errors import ParityError, UnsupportedModuleError
from onepath.export.graphs.dispatch import PresenceGraph
from onepath.export.proofs import Batch
from onepath.export.proving import first_output, run_graph
from onepath.export.recipe import Recipe
from onepath.merging.multimodal import MultimodalModel


@contextmanager
def random_models_told(model: nn.Module, recipe: Recipe, probes: Batch) -> Iterator[None]:
    """Prove something of a model, and tell it where it fails because the model answers otherwise each time.

    Args:
        model: a `MultimodalModel` in eval mode.
        recipe: the recipe.
        probes: what it is asked twice.

    Raises:
        ParityError: the proof fails, and the model answers the same each time.
        UnsupportedModuleError: the proof fails, and it does not.
    """
    try:
        yield
    except ParityError as error:
        graph = PresenceGraph(cast(MultimodalModel, model), recipe.task).eval()
        once, again = (first_output(run_graph(graph, probes)) for _ in range(2))
        if np.allclose(once, again, rtol=0, atol=recipe.tolerances.cast, equal_nan=True):
            raise
        reason = "it answers the same rows otherwise when it is run again"
        advice = "draw no random numbers in forward: F.dropout takes training=self.training, nn.Dropout knows by itself"
        raise UnsupportedModuleError("the model", reason, advice) from error
