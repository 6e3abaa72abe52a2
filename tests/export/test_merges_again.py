"""A merge of a recipe is held against the same merge made again from its parents, on the golden probes."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from onepath.contract.errors import ParityError, UnsupportedModuleError
from onepath.contract.stages import MERGE_REFERENCE
from onepath.export.build import build, entries_from_recipe
from onepath.export.bundles.assembled import assemble
from onepath.export.bundles.sources import Sources
from onepath.export.held_out_rows import rows_from_file
from onepath.export.models import models_from_recipe
from onepath.export.progress import SilentProgress
from onepath.export.proofs import digest_from_model
from onepath.export.recipe import recipe_from_file
from onepath.export.recipe.code import folder_on_path
from onepath.export.rows import RowSource
from onepath.scoring.rerun import rerun
from tests.export.soup import answers, flowers, merged_by, parents, write_soup

MERGES = ["mean", "round", "agreed", "extended"]


@pytest.fixture(scope="module")
def soup(tmp_path_factory):
    return soup_in(write_soup(tmp_path_factory.mktemp("soup")))


def soup_in(path):
    """Return a recipe, its held-out rows, and what its bundles are made of."""
    recipe = recipe_from_file(path)
    trained = rows_from_file(path.parent / "rows.jsonl", recipe)
    rows = RowSource(entries_from_recipe(recipe, path), path.parent / "assets", trained.rows)
    with folder_on_path(path.parent):
        return recipe, rows, Sources(trained, models_from_recipe(recipe, path))


def assembled(soup, merge, **changed):
    recipe, rows, sources = soup
    made = {**sources.made, **changed}
    return assemble(f"soup-{merge}", recipe, replace(sources, made=made), rows)


def tensors_of(merge):
    if merge != "extended":
        return merged_by(merge)
    scales = {"first.weight": 0.25, "second.weight": -0.5}
    mean, base = merged_by("mean"), parents()["base"]
    return {name: tensor + scales.get(name, 0) * base[name] for name, tensor in mean.items()}


def scores(logits):
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("merge", MERGES)
def test_the_reference_is_what_the_model_that_numpy_merged_answers(soup, merge):
    found = scores(assembled(soup, merge).answers[MERGE_REFERENCE])
    rows = flowers()[0][: len(found)]
    assert np.abs(found - answers(tensors_of(merge), rows)).max() < 1e-7
    others = [other for other in MERGES if other != merge]
    assert all(np.abs(found - answers(tensors_of(other), rows)).max() > 1e-4 for other in others)


@pytest.mark.parametrize("merge", MERGES)
def test_a_merge_is_proved_on_the_golden_probes_in_float64(soup, merge):
    (proof,) = assembled(soup, merge).proofs
    measured = proof.measurements[-1]
    assert measured.inputs == "golden probes, merge.reference to merge"
    assert (measured.computed_in, measured.error) == ("float64", 0.0)


WRONG = {
    "a bias shifted": ("mean", "head.bias", lambda tensor: tensor + 1e-6),
    "two units exchanged": ("agreed", "second.weight", lambda tensor: tensor.flip(0)),
    "λ off by 1 %": ("extended", "first.parametrizations.weight.0.scale", lambda tensor: tensor * 1.01),
    "an auxiliary forgotten": ("extended", "second.parametrizations.weight.0.scale", lambda tensor: tensor * 0),
    "a target of another merge": ("extended", "head.weight", lambda tensor: tensor * 1.0001),
}


@pytest.mark.parametrize(("merge", "name", "change"), WRONG.values(), ids=WRONG)
def test_a_model_that_is_not_the_merge_is_refused(soup, merge, name, change):
    made = soup[2].made[merge]
    model = copy.deepcopy(made.model)
    tensor = model.state_dict()[name]
    tensor.copy_(change(tensor.clone()))
    with pytest.raises(ParityError, match="merge changed the result"):
        assembled(soup, merge, **{merge: replace(made, model=model, digest=digest_from_model(model))})


def test_a_merge_whose_parent_was_trained_since_has_no_reference(soup):
    _, _, sources = soup
    assert sources.with_merges_made_again(["extended"]) is not None
    left = sources.made["left"].model
    before = copy.deepcopy(left.state_dict())
    try:
        left.head.bias.data += 0.1
        assert sources.with_merges_made_again(["extended"]) is None
        assert MERGE_REFERENCE not in assembled(soup, "extended").answers
    finally:
        left.load_state_dict(before)
    assert MERGE_REFERENCE in assembled(soup, "extended").answers


def test_a_merge_that_draws_random_numbers_is_told_as_such(tmp_path):
    path = write_soup(tmp_path)
    models = tmp_path / "models.py"
    plain = "self.head(torch.tanh(self.second(torch.tanh(x))))"
    models.write_text(models.read_text().replace(plain, f"nn.functional.dropout({plain})"))
    soup = soup_in(path)
    torch.manual_seed(0)  # with a few outputs, two draws are the same by chance every now and then
    with pytest.raises(UnsupportedModuleError, match="answers the same rows otherwise when it is run again"):
        assembled(soup, "mean")


def test_a_merge_is_measured_again_from_the_bundle_alone(tmp_path):
    auxiliary = {"model": "base", "layers": ["first"], "scales": 0.25}
    merges = {
        "mean": {"method": "linear", "models": {"left": 3, "right": 1}},
        "extended": {"method": "cross_modal", "target": "mean", "auxiliaries": [auxiliary]},
    }
    one = {"extended": {"model": "encoder", "source": "extended"}}
    path = write_soup(tmp_path / "recipe", merges=merges, bundles=one)
    (bundle,) = build(path, tmp_path / "build", SilentProgress())
    found = [check for check in rerun(bundle) if check.subject == "merge"]
    assert [(check.verdict, check.measured) for check in found] == [
        ("ok", "golden probes, merge.reference to merge"),
        ("not measured", "2 further comparisons"),
    ]
    assert found[1].note.startswith("of the parents, which are not in the bundle")
