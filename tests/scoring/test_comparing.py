"""Comparisons on other rows than the golden probes, made again from the bundle alone."""

import base64
import json
import tracemalloc
import zlib

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onepath.contract.bundle import open_bundle
from onepath.contract.comparisons import COMPARISONS
from onepath.contract.digests import canonical_json
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.writing import amend_bundle
from onepath.scoring.comparing import comparisons_again
from onepath.scoring.rerun import rerun
from onepath.scoring.unmeasured import share_measured
from tests.contract.mutations import put
from tests.export.answered_toy import answered, copy_to

GRAPH, NAMES = "graphs/model.onnx", ("picture", "word", "cells")


@pytest.fixture
def path(tmp_path):
    return copy_to(tmp_path)


def checks(path):
    bundle = open_bundle(path)
    return comparisons_again(bundle, bundle.probes)


def raw(path):
    return json.loads((path / COMPARISONS).read_text())


def change(path, edit):
    """Change the stored comparisons as someone would who corrects the digests."""
    content = raw(path)
    edit(content)
    put(path, COMPARISONS, canonical_json(content))


def shift(stored, by):
    """Add a number to the first element of a stored array."""
    array = np.frombuffer(zlib.decompress(base64.b64decode(stored["data"])), stored["dtype"]).copy()
    array[0] += by
    stored["data"] = base64.b64encode(zlib.compress(array.astype(stored["dtype"]).tobytes())).decode()


def of_proof(step):
    proofs = [proof for proof in open_bundle(answered()).manifest.proofs if proof.step == step]
    titles = [each.inputs for proof in proofs for each in proof.measurements]
    return [title for title in titles if not title.startswith("golden probes")]


@pytest.mark.parametrize("step", ["onnx", "collapse", "merge"])
def test_every_comparison_of_a_step_is_made_again_and_holds(step):
    found = [check for check in checks(answered()) if check.subject == step]
    assert [check.measured for check in found] == of_proof(step)
    assert {check.verdict for check in found} == {"ok"}


def test_what_was_recorded_is_told_beside_what_is_measured_now():
    proofs = {proof.step: proof for proof in open_bundle(answered()).manifest.proofs}
    recorded = {each.inputs: each.error for each in proofs["onnx"].measurements}
    found = [check for check in checks(answered()) if check.subject == "onnx"]
    assert [check.recorded for check in found] == [recorded[check.measured] for check in found]


def test_a_graph_that_answers_otherwise_on_other_rows_is_noticed(path):
    model = onnx.load(path / GRAPH)
    tensor = next(each for each in model.graph.initializer if len(each.dims) == 2 and each.data_type == 1)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))
    put(path, GRAPH, model.SerializeToString(deterministic=True))
    broken = {check.measured for check in checks(path) if check.verdict == "broken"}
    assert {"8 random rows, seed 3", "8 held-out rows of mixed patterns", "3 rows of zeros"} <= broken


def index_of(content, step, which="expected"):
    compared = next(each for each in content["compared"] if each["step"] == step)
    return compared[which]["scores"]


@pytest.mark.parametrize(("step", "by"), [("onnx", 1e-3), ("collapse", 1e-9), ("merge", 1e-9)])
def test_reference_answers_that_moved_are_noticed(path, step, by):
    change(path, lambda content: shift(content["arrays"][index_of(content, step)], by))
    assert step in {check.subject for check in checks(path) if check.verdict == "broken"}


def test_stored_answers_that_are_farther_off_than_recorded_are_noticed_within_the_tolerance_too(path):
    def edit(content):
        rounded = next(each for each in content["compared"] if each["inputs"].startswith("float32 against float64"))
        shift(content["arrays"][rounded["found"]["scores"]], 1e-5)

    change(path, edit)
    assert "and the bundle says" in next(check.note for check in checks(path) if check.verdict == "broken")


def test_answers_of_the_model_before_the_graph_that_the_graph_does_not_give_are_noticed(path):
    """Whoever changes both sides of a stored comparison has another model than the graph."""

    def edit(content):
        rounded = next(each for each in content["compared"] if each["inputs"].startswith("float32 against float64"))
        for side in ("expected", "found"):
            shift(content["arrays"][rounded[side]["scores"]], 1e-2)

    change(path, edit)
    broken = [(check.subject, check.measured) for check in checks(path) if check.verdict == "broken"]
    assert (GRAPH, "now to cast, 3 random rows, seed 3") in broken


def test_random_rows_that_this_numpy_draws_otherwise_are_not_measured(path):
    def edit(content):
        for batch in content["batches"]:
            if "drawn" in batch:
                batch["drawn"]["sha256"] = "0" * 64

    change(path, edit)
    left = [check for check in checks(path) if check.verdict == "not measured"]
    assert {check.measured for check in left} == {title for title in of_proof("onnx") if "random" in title}
    assert {check.note for check in left} == {
        "the numpy that is installed here draws other random rows from their seed"
    }


def drop(name):
    return lambda content: content.pop(name)


def set_first(name, **values):
    return lambda content: content[name][0].update(values)


def in_float32(content):
    """Say that a comparison in float64 was in float32, as one would whose model answers in less than it has."""
    folded = next(each for each in content["compared"] if each["inputs"].startswith("float64"))
    for number in {*folded["expected"].values(), *folded["found"].values()}:
        stored = content["arrays"][number]
        array = np.frombuffer(zlib.decompress(base64.b64decode(stored["data"])), "float64").astype("float32")
        stored |= {"dtype": "float32", "data": base64.b64encode(zlib.compress(array.tobytes())).decode()}


def wide_span(content):
    """Ask for random numbers that no float holds."""
    drawn = next(each["drawn"] for each in content["batches"] if "drawn" in each)
    drawn["spans"]["cells"]["high"] = 10**400


def one_number(content):
    """Compare one number without rows."""
    rounded = next(each for each in content["compared"] if each["inputs"].startswith("float32 against float64"))
    data = base64.b64encode(zlib.compress(bytes(8))).decode()
    content["arrays"].append({"dtype": "float64", "shape": [], "data": data})
    number = len(content["arrays"]) - 1
    rounded |= {"expected": {"scores": number}, "found": {"scores": number}}


def another_start(content):
    """Let the model be cast from another one than was folded: probabilities hide what all logits of a row share."""
    rounded = next(each for each in content["compared"] if each["inputs"].startswith("float32 against float64"))
    for side in ("expected", "found"):
        stored = content["arrays"][rounded[side]["scores"]]
        array = np.frombuffer(zlib.decompress(base64.b64decode(stored["data"])), stored["dtype"]) + 0.25
        data = base64.b64encode(zlib.compress(array.astype(stored["dtype"]).tobytes())).decode()
        content["arrays"].append(stored | {"data": data})
        rounded[side] = {"scores": len(content["arrays"]) - 1}


REFUSED = {
    "a cast of another model than was folded": another_start,
    "rows of no modality": lambda content: content["values"].update(smell=[]),
    "a batch with rows of no modality": lambda content: content["batches"][0]["rows"].update(smell=[0]),
    "answers in float32 where the proof is in float64": in_float32,
    "random numbers that no float holds": wide_span,
    "a number without rows": one_number,
    "the same comparison twice": lambda content: content["compared"].append(content["compared"][0]),
    "more rows than a bundle keeps": lambda content: content["values"].update(word=["A" * 300_000]),
    "no comparisons": lambda content: content.clear(),
    "an unknown field": lambda content: content.update(code="print()"),
    "no arrays": drop("arrays"),
    "an array that is not there": set_first("compared", expected={"scores": 10**6}),
    "an array before the first": set_first("compared", expected={"scores": -1}),
    "a batch that is not there": set_first("compared", batch=10**6),
    "another proof": set_first("compared", inputs="some rows"),
    "another step": set_first("compared", step="fold"),
    "what the graph answered, in the place of the graph": lambda content: content["compared"][0].update(
        found=content["compared"][0]["expected"]
    ),
    "a graph in the place of what was answered before it": lambda content: content["compared"][-1].pop("found"),
    "an output alone": lambda content: content["compared"][0]["expected"].pop("presence"),
    "rows that are not there": set_first("batches", rows={name: [10**6] for name in NAMES}),
    "rows that are missing": set_first("batches", rows={}),
    "a state that is none": set_first("batches", states={name: [3] for name in NAMES}),
    "more rows than a batch has": set_first("batches", states={name: [1] * 17 for name in NAMES}),
    "another modality": set_first("batches", states={"smell": [1]}),
    "data that is not packed": set_first("arrays", data="AAAA"),
    "a shape of other data": set_first("arrays", shape=[1, 4]),
    "a shape that would fill the memory": set_first("arrays", shape=[1 << 20, 1 << 20]),
    "objects": set_first("arrays", dtype="object"),
}


@pytest.mark.parametrize("edit", REFUSED.values(), ids=REFUSED)
def test_what_is_not_the_comparisons_of_the_bundle_is_refused(path, edit):
    change(path, edit)
    with pytest.raises(BundleIntegrityError, match=rf"{COMPARISONS} .*does not hold the comparisons of this bundle"):
        checks(path)


def test_data_that_unpacks_to_more_than_its_shape_is_refused_without_being_unpacked(path):
    bomb = base64.b64encode(zlib.compress(bytes(1 << 24))).decode()
    change(path, set_first("arrays", data=bomb))
    with pytest.raises(BundleIntegrityError, match="an array of shape"):
        checks(path)


def test_a_key_that_is_there_twice_is_refused(path):
    put(path, COMPARISONS, canonical_json(raw(path)).rstrip()[:-1] + b',"arrays":[]}')
    with pytest.raises(BundleIntegrityError, match="the key 'arrays' is there twice"):
        checks(path)


def test_outputs_that_the_graph_has_not_are_refused_before_they_fill_the_memory(path):
    def edit(content):
        data = base64.b64encode(zlib.compress(bytes(16 << 20))).decode()
        content["arrays"].append({"dtype": "uint8", "shape": [16 << 20], "data": data})
        content["compared"][0]["expected"] = {f"output_{i}": len(content["arrays"]) - 1 for i in range(9)}

    change(path, edit)
    tracemalloc.start()
    try:
        with pytest.raises(BundleIntegrityError, match="is of output_0"):
            checks(path)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_a_file_that_is_too_large_is_refused_unread(path):
    put(path, COMPARISONS, b"[" * (5 << 20))
    with pytest.raises(BundleIntegrityError, match="more than 4194304 bytes"):
        checks(path)


def test_the_share_of_comparisons_that_were_made_again_is_told():
    bundle = open_bundle(answered())
    every = sum(len(proof.measurements) for proof in bundle.manifest.proofs)
    assert share_measured(bundle.manifest, rerun(bundle)) == (every - 1, every)  # but that of held-out rows in float16


def test_a_bundle_that_keeps_no_comparisons_says_so_of_each_step(path):
    def without(manifest):
        files = {name: entry for name, entry in manifest.files.items() if name != COMPARISONS}
        return manifest.model_copy(update={"files": files})

    bundle = amend_bundle(path, {}, without)
    found = rerun(bundle)
    left = {(check.subject, check.measured): check.note for check in found if check.verdict == "not measured"}
    assert left["onnx", f"{len(of_proof('onnx'))} further comparisons"] == "on rows that are not in the bundle"
    assert share_measured(bundle.manifest, found)[0] == 5  # the links of the chain, on the golden probes
