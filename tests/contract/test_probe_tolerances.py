"""How far from its golden probes a graph may be: by what each step was allowed, and by what was seen of it."""

import pytest

from onepath.contract.probe_tolerances import probe_tolerance
from onepath.contract.proofs import Measurement
from tests.server.bundles import write_bundle

GATE, TOLERANCE = 0.25, 1e-5


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    path = tmp_path_factory.mktemp("variants") / "tiny"
    return write_bundle(path, variants={"int8": (1.0, 2.0, 3.02)}, gate=GATE).manifest


def measured(seen=None, *, metric="max_abs"):
    """Return the measurements of a step that was allowed 0.25, and what was seen on the probes."""
    held_out = Measurement(inputs="64 held-out rows", error=0.2, tolerance=GATE, metric=metric)
    flips = Measurement(inputs="64 held-out rows", error=0.0, tolerance=0.9, metric="flips")
    probes = Measurement(inputs="golden probes, onnx to int8", error=seen or 0, tolerance=GATE, metric=metric)
    return (held_out, flips) if seen is None else (held_out, flips, probes)


def as_int8(manifest, measurements):
    """Return a manifest whose variant is deployed, proved by these measurements."""
    (variant,) = manifest.variants
    proofs = tuple(
        proof.model_copy(update={"measurements": measurements}) if proof.step == "precision" else proof
        for proof in manifest.proofs
    )
    return manifest.model_copy(update={"graph": variant, "variants": (manifest.graph,), "proofs": proofs})


def test_the_float32_graph_is_held_to_the_bundles_tolerance_beside_a_variant(manifest):
    assert probe_tolerance(manifest, largest=1000.0) == TOLERANCE


@pytest.mark.parametrize(
    ("seen", "allowed"),
    [(None, GATE), (0.0, GATE / 10), (0.04, 0.08), (0.2, GATE)],
    ids=["not measured", "exact", "seen", "nearly all"],
)
def test_a_variant_may_be_twice_as_far_off_as_it_was_seen_within_its_gate(manifest, seen, allowed):
    assert probe_tolerance(as_int8(manifest, measured(seen))) == pytest.approx(allowed)


def test_relative_tolerances_are_of_the_largest_number_that_is_expected(manifest):
    relative = as_int8(manifest, measured(0.04, metric="max_relative"))
    assert probe_tolerance(relative, largest=50.0) == pytest.approx(50 * 0.08)
    assert probe_tolerance(relative, largest=0.001) == pytest.approx(0.08)
