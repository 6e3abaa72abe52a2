"""Proofs measured again from a bundle alone: what holds, what was tampered with, and what cannot be told."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onepath.contract.answers import ANSWERS, bytes_from_answers
from onepath.contract.bundle import MANIFEST, MANIFEST_DIGEST, digest_line, open_bundle
from onepath.contract.comparisons import COMPARISONS
from onepath.contract.digests import canonical_json, sha256_from_bytes, sha256_from_file
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.graphs import EngineEntry
from onepath.contract.writing import amend_bundle
from onepath.scoring.checks import first_broken
from onepath.scoring.comparing import comparisons_again
from onepath.scoring.rerun import rerun
from tests.export.answered_toy import ROUNDED, answered, copy_to, toy_bundles

GRAPH, WEIGHTS = "graphs/model.onnx", "weights/model.safetensors"
BATCHES = "the probes in batches of 1, 2, 7 and 8 rows"


@pytest.fixture
def path(tmp_path):
    return copy_to(tmp_path)


def rewrite(path, change=lambda raw: raw, **files):
    """Change files and the manifest as someone would who corrects every digest, those of the chain included."""
    raw = change(json.loads((path / MANIFEST).read_text()))
    for name, data in files.items():
        old, new = raw["files"][name]["sha256"], sha256_from_bytes(data)
        (path / name).write_bytes(data)
        raw["files"][name] = {"sha256": new, "size_bytes": len(data)}
        for proof in raw["proofs"]:
            proof |= {end: new for end in ("reads", "writes") if proof[end] == old}
    data = canonical_json(raw)
    (path / MANIFEST).write_bytes(data)
    (path / MANIFEST_DIGEST).write_text(digest_line(sha256_from_bytes(data), MANIFEST))


def broken(path):
    """Return the first check that does not hold, in words; empty if all hold."""
    check = first_broken(rerun(open_bundle(path)))
    return "" if check is None else f"{check.subject}: {check.measured}: {check.note}"


def answers(path):
    with np.load(path / ANSWERS) as stored:
        return {name: array.copy() for name, array in stored.items()}


def with_answers(path, **changed):
    rewrite(path, **{ANSWERS: bytes_from_answers(answers(path) | changed)})


def with_graph(path, change, name=GRAPH):
    model = onnx.load(path / name)
    change({tensor.name: tensor for tensor in model.graph.initializer})
    rewrite(path, **{name: model.SerializeToString(deterministic=True)})


def scale_a_weight(factor, dims=2):
    def change(tensors):
        tensor = next(each for each in tensors.values() if len(each.dims) == dims and each.data_type == 1)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), tensor.name))

    return change


def test_an_untouched_bundle_holds():
    assert broken(answered()) == ""


def test_every_link_of_the_chain_and_every_graph_is_measured():
    bundle = open_bundle(answered())
    others = comparisons_again(bundle, bundle.probes)
    checks = [check for check in rerun(bundle) if check.verdict == "ok" and check not in others]
    assert [(check.subject, check.measured) for check in checks] == [
        ("merge", "golden probes, merge.reference to merge"),
        ("collapse", "golden probes, merge to collapse"),
        ("collapse", "golden probes, collapse to cast"),
        ("torch", "cast to torch"),
        ("probes", "torch to what they expect"),
        ("onnx", "golden probes, torch to onnx"),
        ("precision", "golden probes, onnx to precision:fp16"),
        (GRAPH, "now to onnx as stored"),
        (GRAPH, "now to merge.reference, end to end"),
        (GRAPH, "now to what the probes expect"),
        (GRAPH, BATCHES),
        (ROUNDED, "now to precision:fp16 as stored"),
        (ROUNDED, "now to onnx"),
        (ROUNDED, "now to merge.reference, end to end"),
        (ROUNDED, "now to what the probes expect"),
        (ROUNDED, BATCHES),
        ("probes", "7 of 7 presence patterns"),
        ("weights", "53 of 53 in the float32 graph"),
    ]


def test_the_errors_are_those_between_the_stored_answers():
    stages = answers(answered())
    first = rerun(open_bundle(answered()))[2]
    apart = np.abs(stages["collapse"] - stages["cast"]).max() / max(1, np.abs(stages["collapse"]).max())
    assert (first.error, first.recorded, first.tolerance) == (apart, apart, 1e-4)


@pytest.mark.parametrize(
    ("stage", "moved", "told"),
    [
        ("merge.reference", 1e-6, "merge.reference to merge: is off by"),
        ("merge", 1e-6, "merge.reference to merge: is off by"),
        ("collapse", 1e-6, "merge to collapse: is off by"),
        ("cast", 1e-3, "collapse to cast: is off by"),
        ("torch", 1e-4, "cast to torch: is off by"),
        ("onnx", 1e-4, "torch to onnx: is off by"),
        ("precision:fp16", 0.1, "onnx to precision:fp16: is off by"),
    ],
)
def test_stored_answers_that_moved_by_more_than_the_tolerance_are_refused(path, stage, moved, told):
    with_answers(path, **{stage: answers(path)[stage] + moved})
    assert told in broken(path)


def test_stored_answers_that_say_more_than_the_recorded_error_are_refused_within_the_tolerance_too(path):
    with_answers(path, cast=answers(path)["cast"] + 2e-6)
    assert "and the bundle says" in broken(path)


def test_a_recorded_error_that_is_made_smaller_is_refused(path):
    def better(raw):
        for proof in raw["proofs"]:
            for measured in proof["measurements"]:
                measured["error"] = min(measured["error"], 1e-9)
        return raw

    rewrite(path, better)
    assert "collapse to cast: is off by" in broken(path)


def test_a_proof_without_a_measurement_on_the_probes_is_refused(path):
    def unmeasured(raw):
        for proof in raw["proofs"]:
            proof["measurements"] = [m for m in proof["measurements"] if not m["inputs"].startswith("golden")]
        return raw

    rewrite(path, unmeasured)
    assert broken(path).endswith("merge.reference to merge: was not measured on the probes when the bundle was built")


def measured_by(metric, tolerance):
    """Change every proof as someone would who knows which metrics and tolerances hide a difference."""

    def change(raw):
        for proof in raw["proofs"]:
            for measured in proof["measurements"]:
                measured |= {"metric": metric, "error": 0.0, "tolerance": tolerance}
        return raw

    return change


@pytest.mark.parametrize("metric", ["flips", "cosine_distance", "mean_abs"])
def test_a_proof_without_its_largest_difference_is_refused(path, metric):
    rewrite(path, measured_by(metric, 1.0))
    with pytest.raises(BundleIntegrityError, match="does not compare the largest difference in float64"):
        open_bundle(path)


@pytest.mark.parametrize("computed_in", ["float64", "float32"])
def test_a_fold_with_a_tolerance_of_float32_is_refused_whatever_it_says_that_it_was_computed_in(path, computed_in):
    def looser(raw):
        (collapse,) = (proof for proof in raw["proofs"] if proof["step"] == "collapse")
        for measured in collapse["measurements"]:
            measured |= {"error": 9e-3, "tolerance": 1e-2, "computed_in": computed_in}
        return raw

    rewrite(path, looser)
    with pytest.raises(BundleIntegrityError, match=r"collapse of model\) .*float64"):
        open_bundle(path)


def test_the_presence_patterns_that_no_probe_is_of_are_told(path):
    amend_bundle(path, {}, without_comparisons)
    probes, stages = json.loads((path / "probes.json").read_text()), answers(path)
    kept = [index for index, row in enumerate(probes["rows"]) if "word" in row["payloads"]]
    probes["rows"] = [probes["rows"][index] for index in kept]
    rewrite(path, **{"probes.json": canonical_json(probes)})
    with_answers(path, **{stage: array[kept] for stage, array in stages.items()})
    (check,) = (check for check in rerun(open_bundle(path)) if "presence patterns" in check.measured)
    assert (check.verdict, check.measured) == ("not measured", "4 of 7 presence patterns")
    assert check.note == "no probe is of picture, cells, picture+cells"


@pytest.mark.parametrize("other", ["toy-sum", "toy-stack"])
def test_the_graph_of_another_bundle_is_refused_though_every_digest_fits(path, other):
    rewrite(path, **{GRAPH: (toy_bundles()[other].path / GRAPH).read_bytes()})
    assert broken(path).startswith(f"{GRAPH}: ")


def test_the_weights_of_another_bundle_are_refused_though_every_digest_fits(path):
    rewrite(path, **{WEIGHTS: (toy_bundles()["toy-word"].path / WEIGHTS).read_bytes()})
    assert broken(path) == "weights: 0 of 6 in the float32 graph: they are not the graph's"


def test_probes_of_another_output_are_refused(path):
    raw = json.loads((path / "probes.json").read_text()) | {"output": "presence"}
    rewrite(path, **{"probes.json": canonical_json(raw)})
    with pytest.raises(BundleIntegrityError, match="'presence' and not of 'scores'"):
        rerun(open_bundle(path))


@pytest.mark.parametrize("data", [b"", b"[]", b'{"output": "scores", "rows": []}', b"\xff"])
def test_what_is_no_set_of_probes_is_refused(path, data):
    rewrite(path, **{"probes.json": data})
    with pytest.raises(BundleIntegrityError, match=r"probes\.json"):
        rerun(open_bundle(path))


def test_another_graph_is_refused_though_every_digest_fits(path):
    with_graph(path, scale_a_weight(1.01))
    assert broken(path).startswith(f"{GRAPH}: now to onnx as stored: is off by")


def test_another_graph_of_another_precision_is_refused(path):
    with_graph(path, scale_a_weight(1.05), ROUNDED)
    assert broken(path).startswith(f"{ROUNDED}: now to precision:fp16 as stored: is off by")


def test_another_graph_with_answers_to_fit_it_is_off_the_first_stage(path):
    """Whoever changes the graph and its stored answers has to change those of every stage up to the merge."""
    with_graph(path, scale_a_weight(1.05))
    moved = answers(path) | {"onnx": now(path), "torch": now(path)}
    rewrite(path, **{ANSWERS: bytes_from_answers(moved)})
    rewrite(path, **{"probes.json": expecting(path)})
    assert broken(path).startswith("torch: cast to torch: is off by")


def add_in_batches_of(rows, path, amount, name=GRAPH):
    """Have a graph add something to its scores, in batches of so many rows alone."""
    model = onnx.load(path / name)
    for node in model.graph.node:
        node.output[:] = ["right" if output == "scores" else output for output in node.output]
    for tensor, value in (("so_many", np.array([rows])), ("amount", np.array([amount], np.float32))):
        model.graph.initializer.append(numpy_helper.from_array(value, tensor))
    model.graph.node.extend(
        [
            helper.make_node("Shape", ["picture_state"], ["rows_now"], start=0, end=1),
            helper.make_node("Equal", ["rows_now", "so_many"], ["is_so_many"]),
            helper.make_node("Cast", ["is_so_many"], ["times"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", ["times", "amount"], ["added"]),
            helper.make_node("Add", ["right", "added"], ["scores"]),
        ]
    )
    rewrite(path, **{name: model.SerializeToString(deterministic=True)})


def broken_checks(path):
    return [(each.subject, each.measured) for each in rerun(open_bundle(path)) if each.verdict == "broken"]


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_graph_that_answers_otherwise_in_batches_of_one_size_is_noticed_without_comparisons(path, rows):
    amend_bundle(path, {}, without_comparisons)
    add_in_batches_of(rows, path, 1e-4)
    assert broken_checks(path) == [(GRAPH, BATCHES)]


def test_a_graph_that_adds_nothing_in_batches_of_one_size_holds(path):
    add_in_batches_of(7, path, 0.0)
    assert broken_checks(path) == []


@pytest.mark.parametrize(("amount", "found"), [(5e-3, []), (2e-2, [(ROUNDED, BATCHES)])])
def test_rows_of_another_precision_may_depend_on_their_company_as_far_as_its_proof_allows(path, amount, found):
    """The tolerance of the proof is 0.01."""
    add_in_batches_of(7, path, amount, ROUNDED)
    assert broken_checks(path) == found


@pytest.mark.parametrize("name", [GRAPH, ROUNDED])
def test_without_stored_answers_batches_are_held_against_what_the_probes_expect(path, name):
    amend_bundle(path, {}, without_answers)
    amend_bundle(path, {}, without_comparisons)
    add_in_batches_of(7, path, 2e-2, name)
    assert broken_checks(path) == [(name, BATCHES)]


def now(path):
    from onepath.scoring.probe_runs import answers_now

    bundle = open_bundle(path)
    return answers_now(bundle, bundle.probes, bundle.manifest.graph).once


def expecting(path):
    raw = json.loads((path / "probes.json").read_text())
    for row, expected in zip(raw["rows"], now(path), strict=True):
        row["expected"] = expected.tolist()
    return canonical_json(raw)


def test_expected_answers_other_than_the_stored_ones_are_refused(path):
    raw = json.loads((path / "probes.json").read_text())
    raw["rows"][3]["expected"][0] += 1e-6
    rewrite(path, **{"probes.json": canonical_json(raw)})
    assert broken(path).startswith("probes: torch to what they expect: is off by")


def test_a_probe_that_cannot_be_decoded_is_refused(path):
    raw = json.loads((path / "probes.json").read_text())
    raw["rows"][0]["payloads"] = {"picture": "anVuaw=="}
    rewrite(path, **{"probes.json": canonical_json(raw)})
    with pytest.raises(BundleIntegrityError, match="probe 0 of picture, which is answered as none"):
        rerun(open_bundle(path))


def test_a_graph_that_cannot_be_run_is_broken(path):
    def shorten(tensors):
        tensor = next(each for each in tensors.values() if len(each.dims) == 2 and each.data_type == 1)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:-1], tensor.name))

    with_graph(path, shorten)
    assert "ONNX Runtime cannot" in broken(path)


def test_weights_that_are_not_the_graphs_are_told(path):
    data = bytearray((path / WEIGHTS).read_bytes())
    data[-1] ^= 1
    rewrite(path, **{WEIGHTS: bytes(data)})
    (check,) = (check for check in rerun(open_bundle(path)) if check.subject == "weights")
    assert (check.verdict, check.measured) == ("not measured", "52 of 53 in the float32 graph")
    assert "folded or left out:" in check.note


def test_a_merge_whose_parents_answers_are_not_stored_is_said_and_the_rest_is_measured(path):
    without_reference(path)

    def unmeasured(raw):
        merge = raw["proofs"][0]
        merge["measurements"] = [m for m in merge["measurements"] if not m["inputs"].startswith("golden")]
        return raw

    rewrite(path, unmeasured)
    first, *others = rerun(open_bundle(path))
    assert (first.verdict, first.note) == (
        "not measured",
        "the models that were merged are not in the bundle, nor what they answer",
    )
    assert any(check.measured == "now to merge, end to end" and check.verdict == "ok" for check in others)
    assert first_broken(others) is None


def without_reference(path):
    stages = answers(path)
    del stages["merge.reference"]
    rewrite(path, **{ANSWERS: bytes_from_answers(stages)})


def test_a_merge_that_was_measured_and_whose_answers_are_gone_is_refused(path):
    without_reference(path)
    assert broken(path).endswith("was measured, and the bundle has no answers of merge.reference")


def test_a_bundle_without_stored_answers_has_its_graphs_run_alone(path):
    amend_bundle(path, {}, without_answers)
    checks = rerun(open_bundle(path))
    assert next(check.measured for check in checks if check.verdict == "ok") == "now to what the probes expect"
    assert "every proof" in [check.subject for check in checks if check.verdict == "not measured"]
    with_graph(path, scale_a_weight(1.05), ROUNDED)
    assert broken(path).startswith(f"{ROUNDED}: now to what the probes expect")
    with_graph(path, scale_a_weight(1.01))
    assert broken(path).startswith(f"{GRAPH}: now to what the probes expect")


def without_comparisons(manifest):
    files = {name: entry for name, entry in manifest.files.items() if name != COMPARISONS}
    return manifest.model_copy(update={"files": files})


def without_answers(manifest):
    files = {name: entry for name, entry in manifest.files.items() if name != ANSWERS}
    return manifest.model_copy(update={"answers": None, "files": files})


def test_an_engine_is_said_to_need_its_gpu(path, tmp_path):
    (tmp_path / "plan").write_bytes(b"engine")
    digest = sha256_from_file(tmp_path / "plan")

    def with_engine(manifest):
        engine = EngineEntry(
            files={"graph": "engines/graph.plan"},
            graph=GRAPH,
            precision="bf16",
            compute_capability="9.0",
            gpu="NVIDIA H200",
            tensorrt="10.13",
            opt_rows=4,
            max_rows=8,
        )
        main = next(proof for proof in manifest.proofs if proof.step == "onnx")
        proof = main.model_copy(update={"step": "engine", "reads": main.writes, "writes": digest})
        return manifest.model_copy(update={"engines": (engine,), "proofs": (*manifest.proofs, proof)})

    amend_bundle(path, {"engines/graph.plan": tmp_path / "plan"}, with_engine)
    checks = rerun(open_bundle(path))
    assert [check.note for check in checks if check.subject == "engine for NVIDIA H200"] == [
        "runs on compute capability 9.0"
    ]
    assert first_broken(checks) is None


def test_it_needs_no_training_code_and_no_training_package():
    program = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'onnx', 'onnxscript', 'safetensors'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from onepath.cli import main\n"
        f"sys.argv = ['onepath', 'verify', {str(answered())!r}, '--rerun']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("ok: toy ")
