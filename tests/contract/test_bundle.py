import json
import os
import shutil
import subprocess
from itertools import product

import pytest
from pydantic import ValidationError

from onepath.contract.bundle import MANIFEST, MANIFEST_DIGEST, open_bundle
from onepath.contract.digests import canonical_json, sha256_from_bytes, sha256_from_file
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.manifest import ModalityEntry
from onepath.contract.proofs import Measurement
from onepath.contract.tensors import TensorSpec
from tests.contract import small_bundle

SCORES = TensorSpec(name="scores", dtype="float32", shape=(2,))
IMAGE = ModalityEntry(name="image", kind="image", tensor=TensorSpec(name="image", dtype="uint8", shape=(1,)))
EVERY_FILE = [*small_bundle.FILES, MANIFEST, MANIFEST_DIGEST]


@pytest.fixture
def bundle_path(tmp_path):
    return small_bundle.write(tmp_path / "small")


def flip_bit(path, position, bit):
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def test_an_untouched_bundle_opens(bundle_path):
    bundle = open_bundle(bundle_path)
    assert bundle.manifest.name == "small"
    assert bundle.graph_path.read_bytes() == small_bundle.GRAPH
    assert bundle.probes.rows[0].payloads == {"image": b"\x00\xff"}
    assert bundle.probes.expected().tolist() == [[0.25, 0.75]]


def test_the_id_is_the_digest_of_the_manifest(bundle_path):
    bundle = open_bundle(bundle_path)
    assert bundle.id == sha256_from_file(bundle_path / MANIFEST)
    assert bundle.id.startswith(bundle.short_id)


def test_the_manifests_digest_can_be_checked_with_sha256sum(bundle_path):
    checked = subprocess.run(["sha256sum", "--check", "--strict", MANIFEST_DIGEST], cwd=bundle_path, check=False)
    assert checked.returncode == 0


@pytest.mark.parametrize("name", EVERY_FILE)
def test_any_flipped_bit_is_refused_and_the_file_is_named(bundle_path, name):
    size = (bundle_path / name).stat().st_size
    for position, bit in product(range(0, size, max(1, size // 40)), (0, 7)):
        flip_bit(bundle_path / name, position, bit)
        with pytest.raises(BundleIntegrityError) as refused:
            open_bundle(bundle_path)
        assert name in str(refused.value)
        flip_bit(bundle_path / name, position, bit)
    open_bundle(bundle_path)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_missing_file_is_refused_and_named(bundle_path, name):
    (bundle_path / name).unlink()
    with pytest.raises(BundleIntegrityError, match=name):
        open_bundle(bundle_path)


def test_an_extra_file_is_refused_and_named(bundle_path):
    (bundle_path / "weights" / "extra.bin").write_bytes(b"?")
    with pytest.raises(BundleIntegrityError, match=r"weights/extra\.bin is not listed|weights/extra\.bin"):
        open_bundle(bundle_path)


def test_a_symbolic_link_is_refused_even_to_the_right_content(bundle_path, tmp_path):
    elsewhere = tmp_path / "elsewhere.onnx"
    shutil.move(bundle_path / "graphs/model.onnx", elsewhere)
    (bundle_path / "graphs/model.onnx").symlink_to(elsewhere)
    with pytest.raises(BundleIntegrityError, match="symbolic link"):
        open_bundle(bundle_path)


@pytest.mark.parametrize("outside", ["../secret", "/etc/passwd", "weights/../../secret"])
def test_a_path_that_leaves_the_folder_is_refused(bundle_path, outside):
    raw = json.loads((bundle_path / MANIFEST).read_text())
    raw["files"][outside] = raw["files"]["probes.json"]
    small_bundle.write_manifest(bundle_path, canonical_json(raw))
    with pytest.raises(BundleIntegrityError, match="outside the folder"):
        open_bundle(bundle_path)


def test_a_newer_schema_is_refused_with_its_version(bundle_path):
    raw = json.loads((bundle_path / MANIFEST).read_text()) | {"schema_version": 3}
    small_bundle.write_manifest(bundle_path, canonical_json(raw))
    with pytest.raises(BundleIntegrityError, match=r"schema version 3.*reads versions 1 to 2"):
        open_bundle(bundle_path)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"schema_version": 2}', b"null"])
def test_a_manifest_that_is_none_is_refused(bundle_path, data):
    small_bundle.write_manifest(bundle_path, data)
    with pytest.raises(BundleIntegrityError, match="not a valid manifest"):
        open_bundle(bundle_path)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(BundleIntegrityError, match=MANIFEST):
        open_bundle(tmp_path)
    with pytest.raises(BundleIntegrityError, match="not a folder"):
        open_bundle(tmp_path / "nowhere")


def test_a_proof_over_its_tolerance_is_refused(tmp_path):
    weights, graph = small_bundle.digest("weights/model.safetensors"), small_bundle.digest("graphs/model.onnx")
    proofs = (small_bundle.proof(error=2e-10), small_bundle.proof("onnx", reads=weights, writes=graph))
    path = small_bundle.write(tmp_path / "b", proofs=proofs)
    with pytest.raises(BundleIntegrityError, match=r"proof 1, collapse.*over 1e-10"):
        open_bundle(path)


def chain(**changes):
    """Return a chain of three steps, some of which are proved otherwise."""
    weights, graph = small_bundle.digest("weights/model.safetensors"), small_bundle.digest("graphs/model.onnx")
    ends = {"merge": {"writes": "b" * 64}, "collapse": {"reads": "b" * 64}, "onnx": {"reads": weights, "writes": graph}}
    return tuple(small_bundle.proof(step, **end, **changes.get(step, {})) for step, end in ends.items())


@pytest.mark.parametrize(("step", "most"), [("merge", 1e-9), ("collapse", 1e-9), ("onnx", 1e-2)])
def test_a_tolerance_with_which_a_proof_proves_nothing_is_refused(tmp_path, step, most):
    open_bundle(small_bundle.write(tmp_path / "small", proofs=chain(**{step: {"tolerance": most}})))
    path = small_bundle.write(tmp_path / "small", proofs=chain(**{step: {"tolerance": most * 1.1}}))
    with pytest.raises(BundleIntegrityError, match=rf"{step} of model\).* with which it would prove nothing"):
        open_bundle(path)


def with_more(proofs, step, **figures):
    """Return a chain in which a step has one more comparison."""
    more = Measurement(error=0.0, **{"inputs": "two rows"} | figures)
    return tuple(
        proof.model_copy(update={"measurements": (*proof.measurements, more)}) if proof.step == step else proof
        for proof in proofs
    )


def test_a_tolerance_of_float32_is_refused_for_a_comparison_in_float64_alone(tmp_path):
    def write(computed_in):
        proofs = with_more(chain(), "collapse", tolerance=1e-4, computed_in=computed_in)
        return small_bundle.write(tmp_path / "small", proofs=proofs)

    open_bundle(write("float32"))
    with pytest.raises(BundleIntegrityError, match=r"collapse of model\).*tolerance of 0\.0001 in float64"):
        open_bundle(write("float64"))


@pytest.mark.parametrize("figures", [{"computed_in": "float32"}, {"computed_in": "float64", "metric": "flips"}])
def test_every_comparison_of_a_merge_is_of_the_largest_difference_in_float64(tmp_path, figures):
    right = with_more(chain(), "merge", tolerance=1e-10, computed_in="float64")
    open_bundle(small_bundle.write(tmp_path / "small", proofs=right))
    wrong = with_more(chain(), "merge", tolerance=1e-10, **figures)
    path = small_bundle.write(tmp_path / "small", proofs=wrong)
    with pytest.raises(BundleIntegrityError, match="does not compare the largest difference in float64 on two rows"):
        open_bundle(path)


def test_a_collapse_without_a_comparison_in_float64_is_refused(tmp_path):
    path = small_bundle.write(tmp_path / "small", proofs=chain(collapse={"computed_in": "float32"}))
    with pytest.raises(BundleIntegrityError, match="has no comparison of the largest difference in float64"):
        open_bundle(path)


@pytest.mark.parametrize(("inputs", "allowed"), [("collapse to cast", True), ("merge to collapse", False)])
def test_a_fold_on_the_golden_probes_is_compared_in_float64(tmp_path, inputs, allowed):
    proofs = with_more(chain(), "collapse", inputs=f"golden probes, {inputs}", tolerance=1e-10, computed_in="float32")
    path = small_bundle.write(tmp_path / "small", proofs=proofs)
    if allowed:
        open_bundle(path)
    else:
        with pytest.raises(BundleIntegrityError, match="in float64 on golden probes, merge to collapse"):
            open_bundle(path)


@pytest.mark.parametrize(("title", "allowed"), [("float64, two rows", False), ("float32 against float64, two", True)])
def test_a_comparison_whose_title_says_float64_is_not_taken_for_one_in_float32(tmp_path, title, allowed):
    proofs = with_more(chain(), "collapse", inputs=title, tolerance=1e-2, computed_in="float32")
    path = small_bundle.write(tmp_path / "small", proofs=proofs)
    if allowed:
        open_bundle(path)
    else:
        with pytest.raises(BundleIntegrityError, match="largest difference in float64 on float64, two rows"):
            open_bundle(path)


@pytest.mark.parametrize("metric", ["flips", "cosine_distance"])
def test_an_export_without_a_comparison_of_the_largest_difference_is_refused(tmp_path, metric):
    measured = Measurement(inputs="two rows", error=0.0, tolerance=1.0, metric=metric)
    *before, onnx = with_more(chain(), "onnx", inputs="others", tolerance=1.0, metric=metric)
    open_bundle(small_bundle.write(tmp_path / "small", proofs=(*before, onnx)))
    alone = onnx.model_copy(update={"measurements": (measured,)})
    path = small_bundle.write(tmp_path / "small", proofs=(*before, alone))
    with pytest.raises(BundleIntegrityError, match=r"onnx of model\) .* no comparison of the largest difference"):
        open_bundle(path)


def test_a_comparison_is_in_float32_unless_it_says_otherwise():
    assert Measurement(inputs="one row", error=0.0, tolerance=1.0).computed_in == "float32"


def test_one_graph_in_the_place_of_two_is_refused(tmp_path):
    small = small_bundle.manifest()
    twin = small.graph.model_copy(update={"file": "graphs/int8.onnx", "precision": "int8"})
    graph = small_bundle.digest("graphs/model.onnx")
    precision = small_bundle.proof("precision", reads=graph, writes=graph)
    files = small.files | {twin.file: small.files[small.graph.file]}
    path = small_bundle.write(tmp_path / "b", variants=(twin,), proofs=(*small.proofs, precision), files=files)
    (path / twin.file).write_bytes(small_bundle.GRAPH)
    with pytest.raises(BundleIntegrityError, match=r"graphs/int8\.onnx .*is the same graph as graphs/model\.onnx"):
        open_bundle(path)


def test_a_proof_that_does_not_follow_from_the_one_before_is_refused(tmp_path):
    graph = small_bundle.digest("graphs/model.onnx")
    proofs = (small_bundle.proof(), small_bundle.proof("onnx", reads=small_bundle.PARENT, writes=graph))
    path = small_bundle.write(tmp_path / "b", proofs=proofs)
    with pytest.raises(BundleIntegrityError, match=r"proof 2, onnx.*does not start"):
        open_bundle(path)


@pytest.mark.parametrize("name", ["graphs/model.onnx", "weights/model.safetensors"])
def test_a_file_that_its_proof_step_did_not_write_is_refused(tmp_path, name):
    weights, graph = small_bundle.digest("weights/model.safetensors"), small_bundle.digest("graphs/model.onnx")
    written = {"weights/model.safetensors": weights, "graphs/model.onnx": graph} | {name: "0" * 64}
    collapse = small_bundle.proof(writes=written["weights/model.safetensors"])
    onnx = small_bundle.proof("onnx", reads=collapse.writes, writes=written["graphs/model.onnx"])
    path = small_bundle.write(tmp_path / "b", proofs=(collapse, onnx))
    with pytest.raises(BundleIntegrityError, match=f"{name}.*is not what the proof step"):
        open_bundle(path)


@pytest.mark.parametrize("steps", [[], ["onnx"], ["collapse"], ["onnx", "collapse"], ["collapse", "collapse", "onnx"]])
def test_a_chain_that_lacks_a_step_or_has_them_in_another_order_is_no_manifest(steps):
    with pytest.raises(ValidationError, match="proofs"):
        small_bundle.manifest(proofs=tuple(small_bundle.proof(step) for step in steps))


@pytest.mark.parametrize("figures", [{"error": float("inf")}, {"error": float("nan")}, {"tolerance": 2.0}])
def test_a_figure_that_proves_nothing_is_no_proof(figures):
    with pytest.raises(ValidationError):
        small_bundle.proof(**figures)


def test_a_probe_tolerance_that_accepts_everything_is_refused():
    with pytest.raises(ValidationError, match="probe_tolerance"):
        small_bundle.manifest(probe_tolerance=float("inf"))


def test_an_empty_folder_and_a_pipe_are_refused(bundle_path):
    (bundle_path / "2").mkdir()
    with pytest.raises(BundleIntegrityError, match=r"2 .*is an empty folder"):
        open_bundle(bundle_path)
    (bundle_path / "2").rmdir()
    os.mkfifo(bundle_path / "pipe")
    with pytest.raises(BundleIntegrityError, match=r"pipe .*is neither a file nor a folder"):
        open_bundle(bundle_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"labels": ("yes", "yes")}, "label 'yes' is declared twice"),
        ({"outputs": (SCORES, SCORES)}, "output 'scores' is declared twice"),
        ({"outputs": (SCORES, TensorSpec(name="image", dtype="float32", shape=(1,)))}, "'image' is taken"),
        ({"weights": "probes.json"}, "file 'probes.json' is declared twice"),
        ({"modalities": (IMAGE.model_copy(update={"name": "picture"}),)}, "tensor of the modality 'picture' is named"),
    ],
)
def test_names_that_do_not_fit_together_are_refused(changes, told):
    with pytest.raises(ValidationError, match=told):
        small_bundle.manifest(**changes)


def test_labels_must_fit_the_scores():
    with pytest.raises(ValidationError, match="3 labels do not fit"):
        small_bundle.manifest(labels=("a", "b", "c"))


def test_a_modality_cannot_be_declared_twice():
    entry = ModalityEntry(name="image", kind="image", tensor=TensorSpec(name="image", dtype="uint8", shape=(1,)))
    with pytest.raises(ValidationError, match="'image' is declared twice"):
        small_bundle.manifest(modalities=(entry, entry))


@pytest.mark.parametrize("name", ["graph", "presence", "row_status"])
def test_a_modality_cannot_have_the_name_of_another_tensor(name):
    entry = ModalityEntry(name=name, kind="image", tensor=TensorSpec(name=name, dtype="uint8", shape=(1,)))
    with pytest.raises(ValidationError, match=f"'{name}' is taken"):
        small_bundle.manifest(modalities=(entry,))


def test_an_unknown_field_is_refused():
    with pytest.raises(ValidationError, match="colour"):
        small_bundle.manifest(colour="red")


def test_equal_values_have_equal_canonical_json_and_nan_has_none():
    assert canonical_json({"a": 1, "b": 2}) == canonical_json({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})


def test_a_files_digest_is_that_of_its_bytes(tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 3_000_000)
    assert sha256_from_file(tmp_path / "big") == sha256_from_bytes(b"x" * 3_000_000)
