"""Damage to a bundle, by chance or by someone who corrects the digests: what is refused, and how much of it."""

import json
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest

from onepath.contract.answers import ANSWERS, bytes_from_answers
from onepath.contract.bundle import MANIFEST, SIGNATURE, open_bundle
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.keys import write_new_key
from onepath.contract.signatures import require_signature, sign_bundle
from onepath.contract.weight_files import weight_tensors
from onepath.scoring.rerun import rerun
from tests.contract.mutations import TEXT, another_line, examined, files_of, flip, put, refusal, write_manifest
from tests.export.answered_toy import ROUNDED, answered, copy_to

GRAPH, WEIGHTS, PROBES = "graphs/model.onnx", "weights/model.safetensors", "probes.json"
TOLERANCE = 1e-4
"""The toy's `probe_tolerance`."""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A copy to damage and to mend again."""
    return copy_to(tmp_path_factory.mktemp("damaged"))


def accepted(path, mutations):
    """Return the mutations after which the bundle still opens."""
    found = []
    for file, data in mutations:
        before = file.read_bytes()
        file.write_bytes(data)
        try:
            open_bundle(path)
            found.append(file.name)
        except BundleIntegrityError:
            pass
        file.write_bytes(before)
    open_bundle(path)
    return found


def test_of_200_flipped_bits_and_changed_lines_all_are_refused(path):
    generator, files = np.random.default_rng(7), files_of(path)
    sizes = np.array([file.stat().st_size for file in files])
    drawn = [*generator.choice(files, 50), *generator.choice(files, 50, p=sizes / sizes.sum())]
    texts = [file for file in files if file.suffix in TEXT]
    bits = [(file, flip(file.read_bytes(), generator)) for file in drawn]
    lines = [(file, another_line(file.read_bytes(), generator)) for file in generator.choice(texts, 100)]
    assert {file.name for file, _ in bits} == {file.name for file in files}
    assert len(bits + lines) == 200
    assert accepted(path, bits + lines) == []


def test_a_flipped_bit_of_a_signature_is_refused_where_it_is_required(path, tmp_path):
    signed = shutil.copytree(path, tmp_path / "signed")
    public_key = write_new_key(tmp_path / "key.pem")
    sign_bundle(signed, tmp_path / "key.pem")
    require_signature(signed, public_key)
    data, generator = (signed / SIGNATURE).read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        (signed / SIGNATURE).write_bytes(flip(data, generator))
        with pytest.raises(BundleIntegrityError, match=SIGNATURE):
            require_signature(signed, public_key)


@pytest.mark.parametrize("name", [GRAPH, ROUNDED, WEIGHTS])
def test_a_graph_or_weights_with_a_right_digest_do_not_fit_the_chain(path, name):
    generator, before, manifest = np.random.default_rng(1), (path / name).read_bytes(), (path / MANIFEST).read_bytes()
    for _ in range(20):
        put(path, name, flip(before, generator), chain=False)
        with pytest.raises(BundleIntegrityError, match="is not what the proof step"):
            open_bundle(path)
        (path / name).write_bytes(before)
        write_manifest(path, manifest)


def test_a_changed_digest_in_a_manifest_with_a_right_digest_of_its_own_is_refused(path):
    generator, manifest = np.random.default_rng(2), (path / MANIFEST).read_bytes()
    digests = {entry["sha256"] for entry in json.loads(manifest)["files"].values()}
    for digest in sorted(digests) * 3:
        places = [place for place in range(len(manifest)) if manifest.startswith(digest.encode(), place)]
        place = generator.choice(places) + generator.integers(64)
        other = b"0" if manifest[place : place + 1] != b"0" else b"1"
        write_manifest(path, manifest[:place] + other + manifest[place + 1 :])
        with pytest.raises(BundleIntegrityError):
            open_bundle(path)
    write_manifest(path, manifest)


class Examiner:
    """Looks at changed bundles in another process, which a damaged graph may end: that is no acceptance."""

    def __init__(self, folder):
        self.folder, self.count, self.pool = folder, 0, None

    def __call__(self, name, data):
        self.count += 1
        copy = shutil.copytree(answered(), self.folder / str(self.count))
        put(copy, name, data)
        self.pool = self.pool or ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        try:
            return self.pool.submit(examined, copy, answered()).result(timeout=60)
        except BrokenProcessPool:
            self.pool = None
            return float("inf"), "the process ended"
        finally:
            shutil.rmtree(copy)


@pytest.fixture(scope="module")
def examine(tmp_path_factory):
    examiner = Examiner(tmp_path_factory.mktemp("examined"))
    yield examiner
    if examiner.pool is not None:
        examiner.pool.shutdown()


def missed(found):
    """Return the changes that move an answer by more than the tolerance and are accepted."""
    return [moved for moved, refused in found if moved > TOLERANCE and not refused]


def moving(found):
    return sum(moved > TOLERANCE for moved, _ in found)


@pytest.mark.parametrize("name", [GRAPH, ROUNDED])
def test_a_graph_that_answers_otherwise_is_refused_when_every_digest_and_the_chain_fit(examine, name):
    generator, before = np.random.default_rng(3), (answered() / name).read_bytes()
    found = [examine(name, flip(before, generator)) for _ in range(14)]
    assert missed(found) == []
    assert moving(found) >= 5


def test_probes_with_other_payloads_or_answers_are_refused_when_every_digest_fits(examine):
    generator, before = np.random.default_rng(4), (answered() / PROBES).read_bytes()
    found = [examine(PROBES, flip(before, generator)) for _ in range(12)]
    assert missed(found) == []
    assert moving(found) >= 6


def test_stored_answers_that_moved_are_refused_when_every_digest_fits(examine):
    generator = np.random.default_rng(5)
    with np.load(answered() / ANSWERS) as stored:
        stages = {name: array.copy() for name, array in stored.items()}
    found = []
    for _ in range(12):
        stage = generator.choice(list(stages))
        array = np.frombuffer(flip(stages[stage].tobytes(), generator), np.float64).reshape(stages[stage].shape)
        found.append(examine(ANSWERS, bytes_from_answers(stages | {stage: array})))
    assert missed(found) == []
    assert moving(found) >= 4


def test_weights_that_are_not_those_of_the_graph_are_told_when_every_digest_and_the_chain_fit(path):
    generator, before, manifest = (
        np.random.default_rng(6),
        (path / WEIGHTS).read_bytes(),
        (path / MANIFEST).read_bytes(),
    )
    first = weight_tensors(path / WEIGHTS)[0].start
    for _ in range(10):
        put(path, WEIGHTS, flip(before, generator, first))
        (check,) = (check for check in rerun(open_bundle(path)) if check.subject == "weights")
        assert "folded or left out" in check.note
        (path / WEIGHTS).write_bytes(before)
        write_manifest(path, manifest)


def test_the_untouched_bundle_is_accepted(path):
    assert refusal(path) == ""
    assert examined(path, answered()) == (0.0, "")
