"""Every baseline is built as a bundle by the ordinary build, with all its proofs, and answers any number of rows."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from onepath.contract.tensors import state_name
from onepath.export.build import build
from onepath.export.graphs.dispatch import PresenceGraph
from onepath.export.progress import SilentProgress
from tests.merging.baselines.small_baselines import MAKERS, baseline, inputs, settled

RECIPE = Path(__file__).parent / "recipe" / "recipe.yaml"
BUILT = [kind for kind in MAKERS if kind not in ("concat", "mcat bilinear")]  # their parts are in others


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    return {bundle.manifest.name: bundle for bundle in build(RECIPE, tmp_path_factory.mktemp("b"), SilentProgress())}


def answers(bundle, values, states):
    session = ort.InferenceSession(bundle.graph_path, providers=["CPUExecutionProvider"])
    feeds = {name: tensor.numpy() for name, tensor in values.items()}
    return session.run(["scores"], feeds | {state_name(name): state.numpy() for name, state in states.items()})[0]


@pytest.mark.parametrize("kind", BUILT)
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_a_bundle_answers_any_number_of_rows_as_torch_does(bundles, kind, rows):
    generator = torch.Generator().manual_seed(rows)
    values = {name: tensor.float() for name, tensor in inputs(rows).items()}
    states = {name: torch.randint(0, 3, (rows, 1), generator=generator).to(torch.uint8) for name in values}
    graph = PresenceGraph(settled(baseline(kind)).float(), "classification").eval()
    with torch.inference_mode():
        expected = graph(values, states)["scores"].numpy()
    found = answers(bundles[kind], values, states)
    assert found.shape == (rows, 3)
    assert np.abs(found - expected).max(initial=0.0) <= 1e-4


@pytest.mark.parametrize("kind", BUILT)
def test_another_model_s_answers_would_be_noticed(bundles, kind):
    values = {name: tensor.float() for name, tensor in inputs(5).items()}
    states = {name: torch.ones(5, 1, dtype=torch.uint8) for name in values}
    with torch.inference_mode():
        other = torch.softmax(settled(baseline(kind), seed=2).float()(values), 1).numpy()
    assert np.abs(answers(bundles[kind], values, states) - other).max() > 1e-2


@pytest.mark.parametrize("kind", BUILT)
def test_a_bundle_is_proved_in_float64_before_it_is_cast(bundles, kind):
    proofs = {proof.step: proof for proof in bundles[kind].manifest.proofs}
    assert list(proofs) == ["collapse", "onnx"]
    wide = [measured for measured in proofs["collapse"].measurements if measured.tolerance <= 1e-10]
    assert len(wide) > 5
