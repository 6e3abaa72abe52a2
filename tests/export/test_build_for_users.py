"""What a build says of encoders that cannot be proved, and what it leaves behind, however it ends."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import yaml

from onepath.contract.bundle import open_bundle
from onepath.contract.errors import BundleIntegrityError, UnsupportedModuleError
from onepath.export.build import build
from onepath.export.graphs.exporter import onnx_file_from_graph
from onepath.export.progress import SilentProgress
from onepath.export.rows import RowSource, feeds_from_batch
from onepath.server.repository import deploy
from onepath.server.verification import verify_repository

RECIPE = Path(__file__).parent / "toy_recipe" / "recipe.yaml"
CODE = """
import dataclasses
from torch.nn import functional as F
original = train

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide, self.out = nn.Linear(8, 64), nn.Linear(64, 3)
        self.linear = nn.Linear(8, 3)
    def forward(self, values):
        x = values.to(self.linear.weight.dtype) / 99
        return {answer}

def train(settings, *, seed, progress):
    trained = original(settings, seed=seed, progress=progress)
    return dataclasses.replace(trained, encoders={{'word': Own().eval()}})
"""

LINE = 1 + f"{(RECIPE.parent / 'train.py').read_text()}{CODE}".splitlines().index("        return {answer}")


def recipe_in(folder, answer):
    recipe = yaml.safe_load(RECIPE.read_text()) | {"bundles": {"toy-word": {"model": "encoder", "source": "word"}}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    (folder / "train.py").write_text((RECIPE.parent / "train.py").read_text() + CODE.format(answer=answer))
    return folder / "recipe.yaml"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            "self.linear(values.float())",
            [
                "the encoder of word, encoders.word.linear",
                f"train.py:{LINE}, `return self.linear(v",
                "a dtype of its own",
                "weight.dtype",
            ],
        ),
        (
            "self.linear(x).reshape(1, 3)",
            ["train.Own: at ", f"train.py:{LINE}, `", "does not fit the shape", "run the encoder on zeros"],
        ),
        ("self.linear(x)[:1]", ["the encoder of word", "another number of rows than it gets"]),
        ("self.linear(F.dropout(x))", ["answers the same rows otherwise when it is run again", "self.training"]),
    ],
    ids=["dtype", "shape", "rows", "dropout"],
)
def test_an_encoder_that_torch_cannot_run_as_it_will_be_served_is_told(tmp_path, answer, told):
    with pytest.raises(UnsupportedModuleError) as caught:
        build(recipe_in(tmp_path, answer), tmp_path / "out", SilentProgress())
    for words in told:
        assert words in str(caught.value)
    assert not [*(tmp_path / "out").iterdir()]


def test_a_graph_with_its_weights_beside_it_is_built_opened_and_deployed(tmp_path, monkeypatch):
    monkeypatch.setitem(onnx_file_from_graph.__kwdefaults__, "external_over_bytes", 100)
    recipe = recipe_in(tmp_path, "self.out(torch.tanh(self.wide(x)))")
    (built,) = build(recipe, tmp_path / "out", SilentProgress())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["toy-word"]
    bundle = open_bundle(built.path)
    assert bundle.manifest.graph.files == ("graphs/model.onnx", "graphs/model.onnx.data")
    deploy(bundle, tmp_path / "repository")
    verify_repository(tmp_path / "repository")
    (graph,) = (tmp_path / "repository").rglob("model.onnx")
    source = RowSource(bundle.manifest.modalities, Path("nowhere"), [row.payloads for row in bundle.probes.rows])
    batch = source.decoded("", source.rows[:8])
    found = ort.InferenceSession(graph).run(["scores"], feeds_from_batch(batch))[0]
    assert np.abs(found - bundle.probes.expected()[:8]).max() <= bundle.manifest.probe_tolerance
    (graph.parent / "model.onnx.data").unlink()
    with pytest.raises(BundleIntegrityError, match=r"model\.onnx\.data"):
        verify_repository(tmp_path / "repository")
