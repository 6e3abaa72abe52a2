"""What a bundle's graph answers, and whether its scores fit the recipe's labels."""

from __future__ import annotations

from onepath.contract.errors import RecipeError
from onepath.contract.tensors import PRESENCE, ROW_STATUS, TensorSpec
from onepath.export.graphs.dispatch import PresenceGraph
from onepath.export.proving import run_graph
from onepath.export.recipe import Recipe
from onepath.export.rows import RowSource


def outputs_of_graph(graph: PresenceGraph, source: RowSource, recipe: Recipe) -> list[TensorSpec]:
    """Return the outputs of a graph but for presence and status; of a classifier, the scores are the first.

    Args:
        graph: of a collapsed model; one row is run.
        source: its modalities and rows.
        recipe: has the task and the labels.

    Raises:
        RecipeError: the scores are not one for each label.
    """
    outputs = [
        TensorSpec(name=name, dtype="float32", shape=array.shape[1:])
        for name, array in run_graph(graph, source.mixed(1)).items()
        if name not in (PRESENCE, ROW_STATUS)
    ]
    if recipe.task == "classification" and outputs[0].shape != (len(recipe.labels),):
        problem = f"there are {len(recipe.labels)}, and the models give scores of shape {outputs[0].shape}"
        raise RecipeError(recipe.name, [("labels", problem)])
    return outputs
