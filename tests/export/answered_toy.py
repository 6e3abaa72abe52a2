"""The toy recipe's bundles, and the merged one with a graph of rounded weights too, built once for a whole test run."""

import atexit
import importlib.util
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from onepath.contract.answers import ANSWERS, bytes_from_answers
from onepath.contract.bundle import open_bundle
from onepath.contract.digests import sha256_from_bytes
from onepath.contract.probes import ProbeSet
from onepath.contract.proofs import Measurement, ProofStep
from onepath.contract.stages import graph_stage
from onepath.contract.writing import amend_bundle
from onepath.export.build import build
from onepath.export.progress import SilentProgress
from onepath.export.proving import answers_in_runs, proved_on_probes
from onepath.export.rows import RowSource, feeds_from_batch

RECIPE = Path(__file__).parent / "toy_recipe" / "recipe.yaml"
ROUNDED = "graphs/fp16.onnx"


def toy_code():
    """Return the toy recipe's training code as a module."""
    spec = importlib.util.spec_from_file_location("toy_train", RECIPE.parent / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def toy_source(manifest, rows=None):
    """Return rows of a bundle's modalities: those given, or the toy recipe's held-out ones."""
    generator = np.random.default_rng(3)
    made = [toy_code().row(index, generator) for index in range(12)] if rows is None else rows
    return RowSource(manifest.modalities, Path("nowhere"), made)


@cache
def toy_bundles():
    """Return every bundle of the recipe by name, in a folder of nothing else; they must not be changed."""
    return {bundle.manifest.name: bundle for bundle in build(RECIPE, _folder("toy-"), SilentProgress())}


@cache
def answered():
    """Return the folder of the merged bundle with the graph of rounded weights; it must not be changed."""
    path = _folder("answered-toy-") / "toy"
    shutil.copytree(toy_bundles()["toy"].path, path)
    return add_rounded(open_bundle(path)).path


def _folder(prefix):
    """Return a folder that the end of the test run removes."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def copy_to(folder):
    """Return the folder of a copy of the bundle, to be changed."""
    shutil.copytree(answered(), folder / "toy")
    return folder / "toy"


def add_rounded(bundle):
    """Add the graph with its matrices rounded to float16, as a graph of that precision, with its proof and answers."""
    model = onnx.load(bundle.graph_path)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2:
            rounded = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    data = model.SerializeToString(deterministic=True)
    with np.load(bundle.path / ANSWERS) as stored:
        stages = dict(stored)
    stages["precision:fp16"] = answers_of(data, bundle.probes, bundle.manifest)
    before = graph_stage(bundle.manifest.graph, bundle.manifest)
    proof = ProofStep(
        step="precision",
        subject="graph",
        reads=next(proof.writes for proof in bundle.manifest.proofs if proof.step == before),
        writes=sha256_from_bytes(data),
        measurements=(Measurement(inputs="12 rows of the toy", error=0.001, tolerance=0.01),),
    )
    variant = bundle.manifest.graph.model_copy(update={"file": ROUNDED, "precision": "fp16"})
    measured = proved_on_probes(proof, stages, before, "precision:fp16")

    def change(manifest):
        return manifest.model_copy(update={"variants": (variant,), "proofs": (*manifest.proofs, measured)})

    return amend_bundle(bundle.path, {ROUNDED: data, ANSWERS: bytes_from_answers(stages)}, change)


def answers_of(graph: bytes, probes: ProbeSet, manifest):
    """Return what an ONNX graph answers to probes."""
    session = ort.InferenceSession(graph)
    names = [output.name for output in session.get_outputs()]
    rows = [row.payloads for row in probes.rows]
    batch = toy_source(manifest, rows).decoded("probes", rows)
    return answers_in_runs(
        lambda part: dict(zip(names, session.run(None, feeds_from_batch(part)), strict=True)), batch, rows=8
    )
