"""What docs/bundles.md says is in a bundle, is; and the weights are loaded as it says."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from torch import nn

from onepath.contract.answers import ANSWERS
from onepath.contract.bundle import MANIFEST, MANIFEST_DIGEST, SIGNATURE
from onepath.contract.comparisons import COMPARISONS
from onepath.contract.engines import engine_folder
from onepath.contract.robustness import HEAT_MAP, ROBUSTNESS
from onepath.export.bundles import exporting, sources
from onepath.export.bundles.graph_chain import GRAPH
from onepath.export.precision import variants
from onepath.tuning import amending
from tests.export.answered_toy import toy_bundles, toy_code

PAGE = (Path(__file__).parents[2] / "docs" / "bundles.md").read_text(encoding="utf-8")
(TREE,) = re.findall(r"^```\nbuild/digits/\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SAID = [line.split()[0] for line in TREE.splitlines()]
WRITTEN = {
    *(MANIFEST, MANIFEST_DIGEST, SIGNATURE, ANSWERS, COMPARISONS, ROBUSTNESS, HEAT_MAP),
    *(exporting.WEIGHTS, exporting.PROBES, exporting.REPORT, exporting.PASSES_REPORT),
    *(GRAPH, f"{GRAPH}.data", variants.REPORT, sources.MERGE_REPORT, sources.LINT_REPORT),
    *(f"reports/{amending.REPORT}", f"reports/{amending.PICTURE}"),
}
"""The files that have one name in every bundle."""
OTHERS = ["graphs/model.*.onnx", f"{engine_folder('9.0', 'bf16')}/*", "assets/*/*"]
"""Those whose names depend on what was asked for."""


def test_every_file_that_is_written_is_in_the_tree():
    assert WRITTEN - {*SAID} == set()


def test_the_tree_names_nothing_that_is_never_written():
    assert [name for name in SAID if name not in WRITTEN and not any(fnmatchcase(name, each) for each in OTHERS)] == []
    assert [each for each in OTHERS if not any(fnmatchcase(name, each) for name in SAID)] == []


@pytest.mark.parametrize("name", ["toy", "toy-stack", "toy-word"])
def test_every_file_of_a_built_bundle_is_in_the_tree(name):
    files = toy_bundles()[name].manifest.files
    assert [file for file in files if file not in SAID and not any(fnmatchcase(file, each) for each in OTHERS)] == []


def test_the_weights_load_into_the_plain_class_as_the_page_says():
    (program,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    encoder = nn.Sequential(toy_code().Encoder(*toy_code().WIDTHS["word"]), nn.Linear(10, 3))
    place = str(toy_bundles()["toy-word"].path)
    for page, toy in (('"build/digits-image"', repr(place)), ('"image"', '"word"')):
        assert page in program
        program = program.replace(page, toy)
    before = encoder[1].weight.clone()
    exec(program, {"encoder": encoder})
    assert not before.equal(encoder[1].weight)
