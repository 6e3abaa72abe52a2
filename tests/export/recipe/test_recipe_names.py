"""The names in a recipe of parents and merges."""

import pytest
import yaml

from onepath.contract.errors import RecipeError
from onepath.export.recipe import recipe_from_file
from tests.export.soup import write_soup

PARENT = {"build": "models.py:classifier", "settings": {"width": 8}}
PARENTS = dict.fromkeys(("base", "left", "right"), PARENT)
PATHWAY = {"method": "cross_modal", "target": "left", "auxiliaries": [{"model": "right", "scales": 0.1}]}
TEXT = {"kind": "text", "settings": {"tokenizer": "characters", "length": 4}}
ENCODER = {"model": "encoder", "source": "mean"}


def problems(folder, **changes):
    path = write_soup(folder, **{"parents": PARENTS} | changes)
    with pytest.raises(RecipeError) as refused:
        recipe_from_file(path)
    return dict(refused.value.problems)


def test_a_recipe_of_parents_and_merges_is_read_in_its_order(tmp_path):
    recipe = recipe_from_file(write_soup(tmp_path))
    assert recipe.models == ("base", "left", "right", "mean", "round", "agreed", "extended")


def test_every_field_that_is_wrong_is_told_with_the_path_that_the_file_has(tmp_path):
    found = problems(
        tmp_path,
        parents={"base": {"build": "models"}, "Left": PARENT},
        merges={
            "mean": {"method": "linear", "models": {"base": "much"}},
            "more": {"method": "cross_modal", "target": "base", "auxiliaries": [], "colour": 1},
            "last": {"method": "ties"},
        },
        bundles={"soup": {"model": "merged", "head": "circle", "blocks": 3}},
    )
    assert set(found) == {
        "parents.base.build",
        "parents.Left.[key]",
        "merges.mean.models.base",
        "merges.more.auxiliaries",
        "merges.more.colour",
        "merges.last.models",
        "bundles.soup.head",
        "bundles.soup.blocks",
    }


def test_unknown_names_are_told_together_with_the_known_ones(tmp_path):
    found = problems(
        tmp_path,
        merges={
            "mean": {"method": "average", "models": {"left": 1, "middle": 1}, "base": "ground"},
            "path": PATHWAY | {"target": "nothing", "auxiliaries": [{"model": "void", "scales": 1}]},
            "scoped": {
                "method": "linear",
                "models": {"left": 1, "right": 1},
                "scope": [{"pattern": "a", "method": "keep:base"}, {"pattern": "b", "method": "median"}],
            },
        },
        bundles={
            "soup": ENCODER | {"modality": "smell"},
            "other": {"model": "merged", "method": "median", "blocks": {"flower": "nobody", "sound": "path"}},
            "fused": {"model": "fused", "source": "nobody"},
        },
    )
    assert set(found) == {
        "merges.mean.method",
        "merges.mean.models.middle",
        "merges.mean.base",
        "merges.path.target",
        "merges.path.auxiliaries.0.model",
        "merges.scoped.scope.0.method",
        "merges.scoped.scope.1.method",
        "merges.scoped",
        "bundles.soup.modality",
        "bundles.other.method",
        "bundles.other.blocks.flower",
        "bundles.other.blocks.sound",
        "bundles.fused.source",
    }
    assert "known: base, left, right, mean, path, scoped" in found["merges.mean.models.middle"]
    assert "cross_modal, dare_linear" in found["merges.mean.method"]


def test_a_merge_that_comes_later_is_told_to_move_up(tmp_path):
    merges = {"mean": {"method": "linear", "models": {"later": 1, "base": 1}}, "later": PATHWAY}
    assert problems(tmp_path, merges=merges, bundles={"soup": ENCODER}) == {
        "merges.mean.models.later": "'later' comes later, and merges are made in their order; move it up"
    }


def test_a_cycle_is_shown(tmp_path):
    merges = {
        "mean": {"method": "linear", "models": {"last": 1, "base": 1}},
        "middle": PATHWAY | {"target": "mean"},
        "last": PATHWAY | {"target": "middle"},
        "own": {"method": "linear", "models": {"own": 1, "left": 1}},
    }
    found = problems(tmp_path, merges=merges, bundles={"soup": ENCODER, "own": ENCODER | {"source": "own"}})
    assert found["merges.mean.models.last"] == "is a cycle: mean -> last -> middle -> mean"
    assert found["merges.own.models.own"] == "is a cycle: own -> own"


def test_what_is_never_used_is_told(tmp_path):
    merges = {"mean": {"method": "linear", "models": {"left": 1}}, "idle": PATHWAY}
    found = problems(tmp_path, merges=merges, bundles={"soup": ENCODER})
    assert set(found) == {"parents.base", "merges.idle"}


def test_a_model_of_which_a_scope_keeps_tensors_is_used(tmp_path):
    scope = [{"pattern": "head.*", "method": "keep:base"}]
    merges = {"mean": {"method": "linear", "models": {"left": 1, "right": 1}, "base": "base", "scope": scope}}
    recipe = recipe_from_file(write_soup(tmp_path, parents=PARENTS, merges=merges, bundles={"soup": ENCODER}))
    assert recipe.models == ("base", "left", "right", "mean")


def test_scales_that_nobody_gives_or_trains_are_told(tmp_path):
    merges = {"mean": PATHWAY | {"auxiliaries": [{"model": "right"}, {"model": "base", "scales": 1}]}}
    found = problems(tmp_path, merges=merges, bundles={"soup": ENCODER})
    assert list(found) == ["merges.mean.auxiliaries.0.scales"]


def test_a_light_checkpoint_says_everything_of_its_auxiliaries(tmp_path):
    merges = {
        "mean": PATHWAY | {"checkpoint": "light.safetensors"},
        "rest": {"method": "linear", "models": {"base": 1, "mean": 1}},
    }
    found = problems(tmp_path, merges=merges, bundles={"soup": ENCODER | {"source": "rest"}})
    assert list(found) == ["merges.mean.auxiliaries.0", "merges.mean.checkpoint"]  # the file is not there either


@pytest.mark.parametrize(
    ("code", "rows", "told"), [(None, None, "neither is given"), ("models.py", "rows.jsonl", "both")]
)
def test_held_out_rows_come_from_the_code_or_from_a_file(tmp_path, code, rows, told):
    assert told in problems(tmp_path, code=code, rows=rows)["rows"]


def test_an_encoder_of_several_modalities_says_which_it_takes(tmp_path):
    modalities = dict.fromkeys(("word", "title"), TEXT)
    found = problems(
        tmp_path,
        modalities=modalities,
        merges={"mean": {"method": "linear", "models": dict.fromkeys(PARENTS, 1)}},
        bundles={"one": ENCODER, "two": ENCODER | {"modality": "word"}},
    )
    assert found == {"bundles.one.modality": "is missing: say which one 'mean' encodes"}


def test_without_code_each_modality_of_a_merged_bundle_needs_a_block(tmp_path):
    merged = {"model": "merged", "blocks": {"title": "left"}}
    modalities = dict.fromkeys(("word", "title"), TEXT)
    parents = {"left": PARENT}
    found = problems(tmp_path, modalities=modalities, parents=parents, merges={}, bundles={"soup": merged})
    assert list(found) == ["bundles.soup.blocks.word"]


def test_a_model_is_not_called_as_a_modality_whose_encoder_is_trained(tmp_path):
    found = problems(
        tmp_path,
        code="models.py",
        rows=None,
        parents={"flower": PARENT},
        merges={},
        bundles={"a": {"model": "encoder", "source": "flower"}},
    )
    assert list(found) == ["parents.flower"]


def test_a_parent_and_a_merge_have_different_names(tmp_path):
    merges = {"left": {"method": "linear", "models": dict.fromkeys(PARENTS, 1)}}
    assert (
        "is the name of a parent too"
        in problems(tmp_path, merges=merges, bundles={"a": ENCODER | {"source": "left"}})["merges.left"]
    )


def test_every_file_that_is_missing_is_told(tmp_path):
    path = write_soup(tmp_path)
    recipe = yaml.safe_load(path.read_text())
    recipe["parents"]["left"] |= {"build": "nets.py:make", "weights": "gone.safetensors"}
    recipe["rows"] = "gone.jsonl"
    recipe["merges"]["extended"] |= {"checkpoint": "light.safetensors", "auxiliaries": [{"model": "base"}]}
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    with pytest.raises(RecipeError) as refused:
        recipe_from_file(path)
    found = {"parents.left.build", "parents.left.weights", "rows", "merges.extended.checkpoint"}
    assert {where for where, _ in refused.value.problems} == found
