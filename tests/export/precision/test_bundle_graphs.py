"""From what a recipe wants to what a bundle gets: graphs, their answers to the golden probes, and a true report."""

import json
import re

import numpy as np
import pytest

from onepath.export.bundles.graph_chain import GraphChain
from onepath.export.bundles.precisions import precisions_of_graph
from onepath.export.precision.gates import PrecisionGate, PrecisionGates
from onepath.export.precision.sessions import run_from_graph
from onepath.export.precision.variants import REPORT
from onepath.export.proving import answers_in_runs
from onepath.export.recipe import recipe_from_file
from onepath.export.recipe.precision import WantedGraph
from tests.export.answered_toy import RECIPE
from tests.export.precision import models

OPEN = PrecisionGate(max_abs=0.5, mean_abs=0.05, cosine_distance=0.2, flips=0.5, accuracy_loss=0.2)
SOURCE = models.source(24)
PROBES = SOURCE.mixed(9)


def made(reference, wanted, work, off_by=0.0):
    """What a bundle gets of a graph whose own answers to the probes are told to be others than they are."""
    recipe = recipe_from_file(RECIPE)
    gates = PrecisionGates(int8=OPEN, bf16=OPEN, fp16=OPEN)
    recipe = recipe.model_copy(
        update={
            "export": recipe.export.model_copy(update={"precision": wanted}),
            "tolerances": recipe.tolerances.model_copy(update={"precision": gates}),
        }
    )
    answers = answers_in_runs(run_from_graph(reference.path), PROBES, rows=models.BATCH)
    chain = GraphChain(models.entry(), reference, (), {"torch": answers, "onnx": answers + off_by}, seen=(), passes=())
    return chain.answers["onnx"], precisions_of_graph(
        chain, recipe, source=SOURCE, targets=[], probes=PROBES, work=work
    )


@pytest.mark.parametrize("kind", ["bf16", "fp16"])
def test_a_graph_of_16_bits_has_answers_to_the_probes_on_a_machine_that_lacks_its_operators(reference, kind, tmp_path):
    expected, found = made(reference, kind, tmp_path)
    assert [entry.precisions for entry in found.variants] == [kind]
    assert 0 < np.abs(found.answers[f"precision:{kind}"] - expected).max() < 0.05
    assert any(each.inputs == f"golden probes, onnx to precision:{kind}" for each in found.proofs[0].measurements)


def test_what_is_deployed_unmeasured_can_still_be_run_here_for_the_robustness_report(reference, tmp_path):
    wanted = (WantedGraph(default="bf16", choose="passing"),)
    expected, found = made(reference, wanted, tmp_path)
    assert found.graph.precisions == "bf16"
    assert found.graph_file.path.name == "model.bf16.onnx"
    again = answers_in_runs(run_from_graph(found.runnable_file.path), PROBES, rows=models.BATCH)
    assert np.abs(again - expected).max() < 0.05


def test_the_report_of_a_graph_that_is_dropped_on_the_probes_says_so(reference, tmp_path):
    wanted = (WantedGraph(default="int8", machine="gpu", choose="passing"),)
    for off_by, outcome in ((0.0, "chosen"), (0.9, "dropped")):
        _, found = made(reference, wanted, tmp_path / outcome, off_by)
        (graph,) = json.loads(found.reports[REPORT])["graphs"]
        assert graph["outcome"] == outcome
    assert graph["form"] is None
    words = r"it is off by (0\.[89]|1\.)\d*, over 0\.5, on golden probes, onnx to precision:int8"
    assert re.fullmatch(words, graph["attempts"][-1]["problem"])
    assert not graph["attempts"][-1]["passes"]
    assert (found.graph.precisions, found.variants, found.files, found.proofs, found.answers) == (
        "fp32",
        (),
        [],
        (),
        {},
    )
