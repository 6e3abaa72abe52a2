"""From a graph to an engine in the bundle, with a builder that is made of ONNX Runtime in the place of TensorRT."""

import shutil
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from onepath.contract.bundle import open_bundle
from onepath.contract.errors import BundleIntegrityError, ParityError, UnsupportedModuleError
from onepath.export.engine import (
    EngineAuditError,
    EngineRefusedError,
    EngineReleaseError,
    EngineRequest,
    NoGraphError,
    build_engine,
)
from onepath.export.engine.parity import prove_engine, run_reference
from onepath.export.proofs import Batch
from tests.export.engine import dispatched
from tests.export.engine.standin import StandIn, into_float32, shifted
from tests.server.bundles import ALPHABET, LENGTH, probe_set, scores

FP16 = EngineRequest("fp16", opt_rows=4)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return dispatched.write_bundle(tmp_path_factory.mktemp("bundle") / "tiny").path


@pytest.fixture
def path(original, tmp_path):
    """A copy of the bundle, to build engines for."""
    shutil.copytree(original, tmp_path / "tiny")
    return tmp_path / "tiny"


def contents(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def built(original, tmp_path_factory):
    """An engine in a bundle, for tests that only look at it."""
    path = tmp_path_factory.mktemp("built") / "tiny"
    shutil.copytree(original, path)
    return build_engine(path, FP16, StandIn("9.0"))


def test_an_engine_is_put_into_the_bundle_with_what_it_was_built_by_and_for(built):
    (entry,) = open_bundle(built.bundle.path).manifest.engines
    assert entry == built.entry
    assert entry.files == {"graph": "engines/sm90/fp16/graph.plan"}
    assert (entry.graph, entry.precision, entry.compute_capability) == ("graphs/fp16.onnx", "fp16", "9.0")
    assert (entry.gpu, entry.tensorrt, entry.opt_rows, entry.max_rows) == ("GPU 9.0", "10.14.1", 4, 8)


def test_the_chain_leads_from_the_graph_to_the_engine(built):
    manifest = open_bundle(built.bundle.path).manifest
    precision, engine = manifest.proofs[-2:]
    assert (engine.step, engine.reads) == ("engine", precision.writes)
    assert engine.writes == manifest.files["engines/sm90/fp16/graph.plan"].sha256
    assert {measured.tolerance for measured in engine.measurements} == {1e-2}
    assert engine.notes["products_in_fp16"] == 2


def test_it_is_held_against_onnx_runtime_on_the_probes_and_at_every_size_that_matters(built):
    titles = [measured.inputs for measured in built.measurements]
    sizes = [f"{size} held-out rows of mixed patterns" for size in (1, 2, 4, 7, 8)]
    assert titles[0] == "golden probes"
    assert [title for title in sizes if title not in titles] == []
    assert sum("held-out rows with" in title for title in titles) == 3


def test_the_profile_reaches_from_one_row_to_the_graphs_most(path):
    builder = StandIn()
    build_engine(path, replace(FP16, opt_rows=100, workspace_gib=0.5), builder)
    _, options = builder.built["graph"]
    assert (options.opt_rows, options.max_rows, options.workspace_bytes) == (8, 8, 1 << 29)


@pytest.mark.parametrize(
    ("preferred", "given", "rows"),
    [([], None, 8), ([2, 5, 64], None, 5), ([64], None, 8), ([5], 3, 3)],
    ids=["none", "the largest that fits", "none that fits", "one is given"],
)
def test_it_is_tuned_for_the_bundles_largest_preferred_batch_unless_told(tmp_path, preferred, given, rows):
    bundle = dispatched.write_bundle(tmp_path / "tiny", deployment={"preferred_batch_sizes": preferred})
    builder = StandIn()
    build_engine(bundle.path, EngineRequest("fp16", opt_rows=given), builder)
    assert builder.built["graph"][1].opt_rows == rows


def test_an_engine_asked_for_in_fp16_that_came_out_fp32_changes_nothing(path):
    before = contents(path)
    with pytest.raises(EngineAuditError, match=r"asked for in fp16.*2 in fp32"):
        build_engine(path, FP16, StandIn(spoils=into_float32))
    assert contents(path) == before


def test_a_bundle_without_a_probe_of_every_modality_is_refused_before_anything_is_built(tmp_path):
    rows = tuple(row for row in probe_set().rows if len(row.payloads) == 1)
    bundle = dispatched.write_bundle(tmp_path / "tiny", probes=probe_set().model_copy(update={"rows": rows}))
    builder = StandIn()
    with pytest.raises(UnsupportedModuleError, match="no golden probe has every modality"):
        build_engine(bundle.path, FP16, builder)
    assert not builder.built


def test_an_engine_with_a_weight_that_is_off_changes_nothing(path):
    before = contents(path)
    with pytest.raises(ParityError, match="the engine in fp16 changed the result"):
        build_engine(path, FP16, StandIn(spoils=shifted("image_weight", 0.1)))
    assert contents(path) == before


def test_an_engine_with_a_weight_that_is_hardly_off_is_within_the_tolerance(path):
    built = build_engine(path, FP16, StandIn(spoils=shifted("image_weight", 0.004)))
    assert 1e-3 < max(measured.error for measured in built.measurements) <= 1e-2


def test_a_precision_that_the_bundle_has_no_graph_in_says_how_to_build_one(path):
    with pytest.raises(NoGraphError, match=r"no graph in bf16, only in fp32 and fp16.*--precision bf16"):
        build_engine(path, EngineRequest("bf16"), StandIn())


def test_a_library_whose_engines_no_target_would_load_is_refused_before_anything_is_built(path):
    builder = StandIn()
    with pytest.raises(EngineReleaseError, match=r"triton-26\.06 has 11\.0\.0"):
        build_engine(path, replace(FP16, release="26.06"), builder)
    assert not builder.built


def test_a_release_of_another_version_beside_one_that_fits_is_told(path):
    assert build_engine(path, replace(FP16, release="25.12"), StandIn()).notes == ()
    (told,) = build_engine(path, FP16, StandIn()).notes
    assert "checked for no Triton" in told


def test_a_changed_bundle_gets_no_engine(path):
    graph = path / "graphs/fp16.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\0")
    with pytest.raises(BundleIntegrityError, match=r"fp16\.onnx"):
        build_engine(path, FP16, StandIn())


@pytest.mark.parametrize(("task", "holds"), [("embedding", True), ("classification", False)])
def test_an_embeddings_engine_may_be_off_by_a_share_of_its_largest_number(original, task, holds):
    bundle = open_bundle(original)
    graph, batch = bundle.manifest.variants[0], one_row(level=204, text="ccc")
    run, _ = run_reference(bundle, graph)
    largest = float(run(batch)["scores"].max())
    of_task = replace(bundle, manifest=bundle.manifest.model_copy(update={"task": task}))

    def off(_):
        return {name: array + 0.009 * largest * (name == "scores") for name, array in run(batch).items()}

    assert 0.009 * largest > 1e-2
    with nullcontext() if holds else pytest.raises(ParityError):
        prove_engine(of_task, graph, off, [batch])


def one_row(*, level, text):
    states = {name: np.ones((1, 1), np.uint8) for name in ("image", "text")}
    ids = [ALPHABET.index(letter) + 2 for letter in text] + [0] * (LENGTH - len(text))
    return Batch(
        "one row", {"image": np.full((1, 1, 4, 4), level, np.uint8), "text": np.array([ids], np.int32)}, states
    )


def test_what_onnx_runtime_cannot_run_here_is_replaced_by_the_float32_graph(original, tmp_path):
    in_fp16 = open_bundle(original)
    assert run_reference(in_fp16, in_fp16.manifest.variants[0])[1].startswith("the graph in fp16, onnxruntime")
    in_bf16 = dispatched.write_bundle(tmp_path / "tiny", low="bf16")
    run, against = run_reference(in_bf16, in_bf16.manifest.variants[0])
    assert against.startswith("the graph in fp32, onnxruntime")
    found = run(one_row(level=204, text="ccc"))["scores"][0]
    np.testing.assert_allclose(found, scores(level=204, text="ccc"), atol=1e-6)


class TestSeveralEngines:
    def test_for_several_gpus_and_precisions_live_side_by_side(self, path):
        for capability in ("9.0", "8.6"):
            build_engine(path, FP16, StandIn(capability))
        build_engine(path, EngineRequest("fp32"), StandIn("9.0"))
        manifest = open_bundle(path).manifest
        kinds = {(engine.compute_capability, engine.precision) for engine in manifest.engines}
        assert kinds == {("9.0", "fp16"), ("8.6", "fp16"), ("9.0", "fp32")}
        assert [proof.step for proof in manifest.proofs].count("engine") == 3

    def test_of_one_kind_replace_each_other(self, path):
        build_engine(path, FP16, StandIn("8.6"))
        build_engine(path, FP16, StandIn("9.0"))
        build_engine(path, replace(FP16, opt_rows=2), StandIn("9.0", spoils=shifted("image_weight", 0.001)))
        manifest = open_bundle(path).manifest
        assert [(engine.compute_capability, engine.opt_rows) for engine in manifest.engines] == [("8.6", 4), ("9.0", 2)]
        assert [proof.step for proof in manifest.proofs].count("engine") == 2

    def test_leave_no_file_of_the_replaced_one(self, path):
        build_engine(path, replace(FP16, split=True), StandIn())
        build_engine(path, FP16, StandIn())
        assert sorted(file.name for file in path.glob("engines/**/*.plan")) == ["graph.plan"]


class TestAGraphThatCannotBeOneEngine:
    @pytest.fixture(scope="class")
    @staticmethod
    def built(original, tmp_path_factory):
        path = tmp_path_factory.mktemp("split") / "tiny"
        shutil.copytree(original, path)
        return build_engine(path, FP16, StandIn(refuses="NonZero"))

    def test_becomes_encoders_and_fusion(self, built):
        files = [f"engines/sm90/fp16/{part}.plan" for part in ("fusion", "image", "text")]
        assert list(built.entry.files.values()) == files
        assert {spec.name: spec.shape for spec in built.entry.features} == {"image": (3,), "text": (3,)}

    def test_says_why(self, built):
        assert len(built.refusal) == 2
        assert all("(NonZero)" in problem for problem in built.refusal)

    def test_is_proved_in_its_parts_together(self, built):
        assert max(measured.error for measured in built.measurements) <= 1e-2
        assert built.audit.counts == {"fp16": 2}

    @pytest.mark.parametrize(("part", "by"), [("image", 0.1), ("text", 2.0)])
    def test_is_not_put_in_with_one_part_that_is_off(self, path, part, by):
        spoiled = StandIn(refuses="NonZero", spoils=shifted(f"{part}_weight", by))
        with pytest.raises(ParityError):
            build_engine(path, FP16, spoiled)

    def test_nor_its_parts_is_refused_with_the_reasons(self, path):
        with pytest.raises(EngineRefusedError, match=r"\(MatMul\): not here"):
            build_engine(path, FP16, StandIn(refuses="MatMul"))
