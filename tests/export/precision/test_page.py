"""What `docs/precision.md` says of recipes and gates is so."""

import importlib
import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from onepath.export.precision.gates import PrecisionGates
from onepath.export.recipe.precision import PrecisionPlan, precision_problems, wanted_graphs

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "precision.md").read_text(encoding="utf-8")


def test_it_is_what_the_script_writes_of_the_saved_figures(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    written = importlib.import_module("precision_page").page
    saved = [ROOT / "benchmarks" / "results" / f"precision_{name}.json" for name in ("vit", "digits")]
    assert written(*(json.loads(path.read_text(encoding="utf-8")) for path in saved)) == PAGE


def test_its_recipe_is_valid():
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    plan = TypeAdapter(PrecisionPlan).validate_python(yaml.safe_load(example)["export"]["precision"])
    assert [wanted.words for wanted in wanted_graphs(plan)] == ["int8", "int8, audio fp32", "bf16"]
    assert precision_problems(plan, ["image", "audio"]) == []


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        ("largest difference of a probability", "max_abs"),
        ("mean difference", "mean_abs"),
        ("cosine distance of the worst row", "cosine_distance"),
        ("rows whose highest score is another", "flips"),
        ("accuracy loss, row by row", "accuracy_loss"),
    ],
)
def test_its_gates_are_the_default_ones(words, limit):
    (row,) = re.findall(rf"^\| {re.escape(words)} \| (.*?) \| (.*?) \| (.*?) \|$", PAGE, flags=re.MULTILINE)
    gates = PrecisionGates()
    assert [float(cell) for cell in row] == [getattr(gate, limit) for gate in (gates.fp16, gates.bf16, gates.int8)]
