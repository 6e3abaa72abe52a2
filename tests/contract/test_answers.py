"""The answers of a bundle's stages: which there are, how they are stored, and how far two of them are apart."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from onepath.contract.answers import ANSWERS, answers_from_bundle, bytes_from_answers
from onepath.contract.distances import distance
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.manifest import FileEntry
from onepath.contract.stages import links_of, stages_of
from tests.contract import small_bundle

STAGES = ["collapse.reference", "collapse", "cast", "torch", "onnx"]
ROWS = {stage: np.array([[0.5, index]]) for index, stage in enumerate(STAGES)}
WEIGHTS, GRAPH = (small_bundle.digest(name) for name in ("weights/model.safetensors", "graphs/model.onnx"))


def manifest(*more, merged=False, **changes):
    """Return a manifest with answers and a chain that goes on with some steps."""
    first = (small_bundle.proof("merge", writes="c" * 64),) if merged else ()
    collapse = small_bundle.proof(reads="c" * 64) if merged else small_bundle.proof()
    proofs = (*first, collapse, small_bundle.proof("onnx", reads=WEIGHTS, writes=GRAPH), *more)
    files = small_bundle.manifest().files | {
        ANSWERS: FileEntry(sha256="0" * 64, size_bytes=1),
        "graphs/int8.onnx": FileEntry(sha256="8" * 64, size_bytes=1),
    }
    return small_bundle.manifest(proofs=proofs, answers=ANSWERS, files=files, **changes)


def stored(tmp_path, data):
    (tmp_path / ANSWERS).write_bytes(data)
    return answers_from_bundle(manifest(), tmp_path, probes=1)


def archive(compression=zipfile.ZIP_STORED, **parts):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in parts.items():
            file.writestr(name, data)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array)
    return buffer.getvalue()


def test_what_is_written_is_read_and_by_numpy_too(tmp_path):
    data = bytes_from_answers(ROWS)
    for found in (stored(tmp_path, data), dict(np.load(io.BytesIO(data), allow_pickle=False))):
        assert list(found) == STAGES
        assert all(np.array_equal(found[stage], ROWS[stage]) for stage in STAGES)


def test_equal_answers_have_equal_bytes():
    assert bytes_from_answers(ROWS) == bytes_from_answers({name: array.copy() for name, array in ROWS.items()})


def test_a_bundle_of_the_first_schema_has_no_answers(tmp_path):
    assert answers_from_bundle(small_bundle.manifest(), tmp_path, probes=1) == {}


@pytest.mark.parametrize("array", [np.zeros((1, 2), np.float32), np.zeros(2), np.zeros((1, 2), object)])
def test_only_float64_of_two_axes_is_written(array):
    with pytest.raises(ValueError, match="not float64 of two"):
        bytes_from_answers({"torch": array})


with zipfile.ZipFile(io.BytesIO(bytes_from_answers(ROWS))) as whole_archive:
    GOOD = {name: whole_archive.read(name) for name in whole_archive.namelist()}
REFUSED = {
    "no archive": b"answers",
    "an archive that was cut": bytes_from_answers(ROWS)[:-9],
    "a flipped bit": bytes_from_answers(ROWS).replace(b"\x00\xe0\x3f", b"\x00\xe1\x3f", 1),
    "a stage that is missing": bytes_from_answers({stage: ROWS[stage] for stage in STAGES[1:]}),
    "a stage that is unknown": bytes_from_answers(ROWS | {"merge": ROWS["torch"]}),
    "two probes": bytes_from_answers({stage: np.zeros((2, 2)) for stage in STAGES}),
    "another width than the output's": bytes_from_answers({stage: np.zeros((1, 3)) for stage in STAGES}),
    "a file that is much too large": bytes_from_answers(ROWS) + bytes(1 << 16),
    "widths that differ": bytes_from_answers(ROWS | {"onnx": np.zeros((1, 3))}),
    "NaN": bytes_from_answers(ROWS | {"onnx": np.array([[0.5, np.nan]])}),
    "infinity": bytes_from_answers(ROWS | {"onnx": np.array([[0.5, np.inf]])}),
    "float32": archive(**GOOD | {"onnx.npy": npy(np.zeros((1, 2), np.float32))}),
    "Fortran's order": archive(**GOOD | {"onnx.npy": npy(np.asfortranarray(np.zeros((1, 2))))[:-8]}),
    "objects": archive(**GOOD | {"onnx.npy": npy(np.array([[print, print]], dtype=object))}),
    "a pickle": archive(**GOOD | {"onnx.npy": pickle.dumps(ROWS["onnx"])}),
    "a path": archive(**GOOD, **{"../onnx.npy": GOOD["onnx.npy"]}),
    "another file": archive(**GOOD, readme=b"hello"),
    "encryption": b"PK\x01\x02\x14\x03\x14\x00\x01".join(
        bytes_from_answers(ROWS).split(b"PK\x01\x02\x14\x03\x14\x00\x00")
    ),
    "compression": archive(zipfile.ZIP_DEFLATED, **GOOD),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_is_not_the_answers_of_the_bundle_is_refused(tmp_path, data):
    with pytest.raises(BundleIntegrityError, match=r"answers\.npz .*does not hold the answers of this bundle"):
        stored(tmp_path, data)


def test_the_parts_that_these_refusals_start_from_are_accepted(tmp_path):
    assert list(stored(tmp_path, archive(**GOOD))) == STAGES


def test_a_model_that_was_not_merged_has_the_stages_of_its_chain():
    assert stages_of(manifest()) == STAGES


def test_a_merged_model_with_passes_and_another_precision_has_more():
    fold = small_bundle.proof("fold", reads=GRAPH, writes="f" * 64)
    int8 = small_bundle.proof("precision", reads="f" * 64, writes="8" * 64)
    variant = small_bundle.manifest().graph.model_copy(update={"file": "graphs/int8.onnx", "precision": "int8"})
    whole = manifest(fold, int8, merged=True, variants=(variant,))
    links = [(link.proof.step, link.before, link.after) for link in links_of(whole)]
    assert links == [
        ("merge", "merge.reference", "merge"),
        ("collapse", "merge", "collapse"),
        ("collapse", "collapse", "cast"),
        ("onnx", "torch", "onnx"),
        ("fold", "onnx", "fold"),
        ("precision", "fold", "precision:int8"),
    ]
    first = ["merge.reference", "merge", "collapse", "cast", "torch"]
    assert stages_of(whole) == [*first, "onnx", "fold", "precision:int8"]


REFERENCE = np.array([[3.0, 4.0], [0.0, 8.0]])
CANDIDATE = np.array([[3.0, 4.5], [1.0, 8.0]])


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("max_abs", 1.0),
        ("max_relative", 1 / 8),
        ("mean_abs", 1.5 / 4),
        ("cosine_distance", max(1 - 27 / (5 * np.hypot(3, 4.5)), 1 - 8 / np.hypot(1, 8))),
        ("flips", 0.0),
    ],
)
def test_a_distance_is_what_its_metric_says(metric, expected):
    assert distance(REFERENCE, CANDIDATE, metric) == pytest.approx(expected, rel=1e-12)
    assert distance(REFERENCE, REFERENCE, metric) == 0


def test_flips_are_the_share_of_rows_with_another_highest_score():
    assert distance(REFERENCE, REFERENCE[:, ::-1], "flips") == 1
    assert distance(REFERENCE, np.array([[5.0, 4.0], [0.0, 1.0]]), "flips") == 0.5


def test_a_row_of_zeros_is_like_itself_and_unlike_others():
    zero = np.zeros((1, 2))
    assert distance(zero, zero, "cosine_distance") == 0
    assert distance(zero, np.ones((1, 2)), "cosine_distance") == 1


@pytest.mark.parametrize("wrong", [np.full((2, 2), np.nan), np.zeros((2, 3)), np.zeros((1, 2)), np.zeros(2)])
def test_what_cannot_be_compared_is_infinitely_far(wrong):
    assert distance(REFERENCE, wrong, "max_abs") == float("inf")


def test_a_loss_of_accuracy_needs_the_targets():
    with pytest.raises(ValueError, match="targets"):
        distance(REFERENCE, CANDIDATE, "accuracy_loss")
