"""What `onepath verify --rerun` tells: every comparison, how many of them were made again, and why others were not."""

import pytest

from onepath.cli.tables import chain_rows
from onepath.contract.bundle import open_bundle
from onepath.contract.comparisons import COMPARISONS
from onepath.contract.proofs import Measurement
from onepath.contract.writing import amend_bundle
from tests.contract import small_bundle
from tests.export.answered_toy import answered, copy_to


@pytest.fixture
def shown(onepath):
    """The lines of a bundle that holds, without the blanks between columns."""
    return [" ".join(line.split()) for line in onepath("verify", answered(), "--rerun").stdout.splitlines()]


def line_of(shown, beginning):
    """Return the words of a line after its beginning."""
    (found,) = (line.removeprefix(beginning).split() for line in shown if line.startswith(f"{beginning} max_"))
    return found


@pytest.mark.parametrize(
    ("beginning", "tolerance"),
    [
        ("merge golden probes, merge.reference to merge", "1e-12"),
        ("merge float64, only picture+word", "1e-12"),
        ("collapse float64, 3 random rows, seed 3", "1e-12"),
        ("collapse float32 against float64, 9 held-out rows of mixed patterns", "0.0001"),
        ("onnx 8 held-out rows of mixed patterns", "1e-05"),
        ("onnx 8 random rows, seed 3", "0.0001"),
        ("onnx together, against torch one by one, 8 random rows, seed 3", "0.0001"),
    ],
)
def test_each_comparison_is_told_with_its_error_now_the_recorded_one_and_the_tolerance(shown, beginning, tolerance):
    _, now, recorded, allowed, verdict = line_of(shown, beginning)
    assert (allowed, verdict) == (tolerance, "ok")
    assert max(float(now), float(recorded)) <= float(tolerance)


def test_it_says_how_many_of_the_proofs_comparisons_were_made_again_and_what_was_not(shown):
    every = sum(len(proof.measurements) for proof in open_bundle(answered()).manifest.proofs)
    assert f"measured again: {every - 1} of the proofs' {every} comparisons hold, and so do 23 further checks" in shown
    reasons = shown[shown.index("Cannot be measured here") :]
    assert "precision 1 further comparison on held-out rows, which are not in the bundle" in reasons


def test_a_bundle_that_keeps_no_other_rows_says_that_fewer_were_made_again(onepath, tmp_path):
    path = copy_to(tmp_path)

    def without(manifest):
        files = {name: entry for name, entry in manifest.files.items() if name != COMPARISONS}
        return manifest.model_copy(update={"files": files})

    amend_bundle(path, {}, without)
    stdout = onepath("verify", path, "--rerun").stdout
    assert "measured again: 5 of the proofs' 59 comparisons hold, and so do 13 further checks" in stdout


@pytest.mark.parametrize(("tolerance", "text"), [(0.25, "0.25"), (1e-12, "1e-12"), (1e-5, "1e-05"), (0.015, "0.015")])
def test_the_tolerances_of_the_chain_keep_their_digits(tolerance, text):
    measured = (Measurement(inputs="one row", error=0.0, tolerance=tolerance),)
    proof = small_bundle.proof().model_copy(update={"measurements": measured})
    ((_, _, _, _, shown, _, _),) = chain_rows([proof])
    assert shown == text
