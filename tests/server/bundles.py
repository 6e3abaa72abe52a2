"""A bundle small enough to check by hand: the mean of the pixels and the mean of the token ids, each times a vector.

scores = image * mean(pixels) / 255 * IMAGE_WEIGHT + text * mean(ids) / 100 * TEXT_WEIGHT, with 1 or 0 for presence.
A bad image counts as absent, a bad text fails its row.
"""

import io
import tempfile
from pathlib import Path

import numpy as np
import onnx.numpy_helper
import onnx.parser
from PIL import Image
from safetensors.numpy import save

from onepath.contract.bundle import MANIFEST, MANIFEST_DIGEST, Bundle, digest_line, open_bundle
from onepath.contract.digests import canonical_json, joined_digest, sha256_from_bytes
from onepath.contract.graphs import GraphEntry
from onepath.contract.manifest import FileEntry, Manifest, ModalityEntry
from onepath.contract.probes import Probe, ProbeSet
from onepath.contract.proofs import Measurement, ProofStep
from onepath.contract.tensors import TensorSpec

LABELS = ("low", "middle", "high")
LENGTH = 8
ALPHABET = "abc"
IMAGE_WEIGHT = (1.0, 2.0, 3.0)
TEXT_WEIGHT = (3.0, -2.0, 1.0)
MAX_BATCH_SIZE = 8

GRAPH = """
<ir_version: 10, opset_import: ["": 20], producer_name: "tests">
tiny (uint8[rows, 1, 4, 4] image, int32[rows, 8] text, uint8[rows, 1] image_state, uint8[rows, 1] text_state)
=> (float[rows, 3] scores, uint8[rows, 2] presence, uint8[rows, 1] row_status)
<
  float[1, 3] image_weight = {%s}, float[1, 3] text_weight = {%s},
  float image_scale = {255.0}, float text_scale = {100.0},
  int32 one = {1}, int32 two = {2}, int64[1] all_pixels = {1}, int64[2] flat = {0, -1}
>
{
  image_code = Cast<to = 6>(image_state)
  text_code = Cast<to = 6>(text_state)
  image_failed = Equal(image_code, two)
  text_failed = Equal(text_code, two)
  failed = Or(image_failed, text_failed)
  fine = Not(failed)
  image_sent = Equal(image_code, one)
  text_sent = Equal(text_code, one)
  image_used = And(image_sent, fine)
  text_used = And(text_sent, fine)
  used = Concat<axis = 1>(image_used, text_used)
  presence = Cast<to = 2>(used)
  pixels = Cast<to = 1>(image)
  row = Reshape(pixels, flat)
  image_mean = ReduceMean<keepdims = 1>(row, all_pixels)
  image_level = Div(image_mean, image_scale)
  ids = Cast<to = 1>(text)
  text_mean = ReduceMean<keepdims = 1>(ids, all_pixels)
  text_level = Div(text_mean, text_scale)
  image_mask = Cast<to = 1>(image_used)
  text_mask = Cast<to = 1>(text_used)
  image_part = Mul(image_level, image_mask)
  text_part = Mul(text_level, text_mask)
  image_scores = MatMul(image_part, image_weight)
  text_scores = MatMul(text_part, text_weight)
  scores = Add(image_scores, text_scores)
  usable = Or(image_used, text_used)
  unusable = Not(usable)
  empty_or_failed = Cast<to = 6>(unusable)
  failed_once_more = Cast<to = 6>(failed)
  code = Add(empty_or_failed, failed_once_more)
  row_status = Cast<to = 2>(code)
}
"""


def png(level):
    """Return the PNG of a 4×4 image of one grey level."""
    buffer = io.BytesIO()
    Image.new("L", (4, 4), level).save(buffer, format="PNG")
    return buffer.getvalue()


def scores(*, level=None, text=None, image_weight=IMAGE_WEIGHT):
    """Return the scores that a row must have, computed without the graph."""
    result = np.zeros(len(LABELS))
    if level is not None:
        result += level / 255 * np.array(image_weight)
    if text is not None:
        ids = [ALPHABET.index(letter) + 2 for letter in text]
        result += sum(ids) / LENGTH / 100 * np.array(TEXT_WEIGHT)
    return result


def probe_set(image_weight=IMAGE_WEIGHT, offset=0.0):
    """Return a probe per presence pattern; an offset makes every answer wrong."""
    rows = ({"level": 51}, {"text": "abc"}, {"level": 204, "text": "ccc"})
    return ProbeSet(
        output="scores",
        rows=tuple(
            Probe(payloads=payloads_from_row(**row), expected=tuple(scores(**row, image_weight=image_weight) + offset))
            for row in rows
        ),
    )


def payloads_from_row(*, level=None, text=None):
    """Return the payloads of a row by modality, without those that are absent."""
    payloads = {"image": None if level is None else png(level), "text": None if text is None else text.encode()}
    return {name: payload for name, payload in payloads.items() if payload is not None}


def modalities():
    """Return the bundle's modalities."""
    image, text = {"height": 4, "width": 4, "channels": 1}, {"tokenizer": "characters", "length": LENGTH}
    return (
        ModalityEntry(
            name="image", kind="image", settings=image, tensor=TensorSpec(name="image", dtype="uint8", shape=(1, 4, 4))
        ),
        ModalityEntry(
            name="text",
            kind="text",
            settings={**text, "alphabet": ALPHABET},
            on_bad_payload="fail",
            tensor=TensorSpec(name="text", dtype="int32", shape=(LENGTH,)),
        ),
    )


def write_bundle(
    path: Path, *, name="tiny", image_weight=IMAGE_WEIGHT, probe_offset=0.0, assets=None, **variants
) -> Bundle:
    """Write the bundle to a new folder and open it; `variants` are those of `write_parts`, given by image weight."""
    weights = variants.pop("variants", {})
    return write_parts(
        path,
        name=name,
        graph=graph_text(image_weight),
        weights=repr(image_weight).encode(),
        probes=probe_set(image_weight, probe_offset),
        modalities=modalities(),
        assets=assets,
        variants={precision: graph_text(weight) for precision, weight in weights.items()},
        **variants,
    )


def graph_text(image_weight):
    """Return the graph in onnx's text form."""
    return GRAPH % (", ".join(map(str, image_weight)), ", ".join(map(str, TEXT_WEIGHT)))


def write_parts(
    path: Path, *, name, graph, weights, probes, modalities, assets=None, variants=None, gate=0.0, deployment=None
) -> Bundle:
    """Write a bundle of a graph in onnx's text form, whose output is the scores of `LABELS`, and open it.

    Args:
        variants: precision to a further graph, whose weights lie in a file beside it.
        gate: the tolerance of the proofs of these graphs.
        deployment: the bundle's own deployment settings.
    """
    files = {
        "weights/model.safetensors": save({"weights": np.frombuffer(weights, np.uint8)}),
        "graphs/model.onnx": onnx_bytes(graph),
        "probes.json": canonical_json(probes.model_dump(mode="json")),
        **(assets or {}),
    }
    weights_digest, graph_digest = (sha256_from_bytes(files[file]) for file in list(files)[:2])
    entries, proofs = [], []
    for precision, text in (variants or {}).items():
        graph_bytes, data = outside(text, precision)
        parts = {f"graphs/{precision}.onnx": graph_bytes, f"graphs/{precision}.onnx.data": data}
        files |= parts
        entries.append(graph_entry(*parts, precision=precision))
        writes = joined_digest(map(sha256_from_bytes, parts.values()))
        proofs.append(hand_written("precision", graph_digest, writes, tolerance=gate))
    source = sha256_from_bytes(b"written by hand")
    manifest = Manifest(
        name=name,
        task="classification",
        labels=LABELS,
        modalities=modalities,
        outputs=(TensorSpec(name="scores", dtype="float32", shape=(len(LABELS),)),),
        graph=graph_entry("graphs/model.onnx"),
        variants=tuple(entries),
        weights="weights/model.safetensors",
        probes="probes.json",
        probe_tolerance=1e-5,
        proofs=(
            hand_written("collapse", source, weights_digest),
            hand_written("onnx", weights_digest, graph_digest),
            *proofs,
        ),
        deployment=deployment or {},
        files={file: FileEntry(sha256=sha256_from_bytes(data), size_bytes=len(data)) for file, data in files.items()},
    )
    encoded = canonical_json(manifest.model_dump(mode="json"))
    files |= {MANIFEST: encoded, MANIFEST_DIGEST: digest_line(sha256_from_bytes(encoded), MANIFEST).encode()}
    for file, data in files.items():
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (path / file).write_bytes(data)
    return open_bundle(path)


def onnx_bytes(text):
    """Return the bytes of a graph in onnx's text form."""
    parsed = onnx.parser.parse_model(text)
    onnx.checker.check_model(parsed)
    return parsed.SerializeToString(deterministic=True)


def outside(text, stem):
    """Return the bytes of a graph whose weights lie in `<stem>.onnx.data` beside it, and those of that file."""
    parsed = onnx.parser.parse_model(text)
    for tensor in (each for each in parsed.graph.initializer if each.data_type == onnx.TensorProto.FLOAT):
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{stem}.onnx"
        onnx.save_model(parsed, file, save_as_external_data=True, location=f"{stem}.onnx.data", size_threshold=0)
        return file.read_bytes(), file.with_name(f"{stem}.onnx.data").read_bytes()


def graph_entry(file, data=None, precision="fp32"):
    """Return what a manifest says of a graph."""
    return GraphEntry(file=file, data=data, precision=precision, opset=20, ir_version=10, max_batch_size=MAX_BATCH_SIZE)


def hand_written(step, reads, writes, *, tolerance=0.0):
    """Return a proof that proves nothing."""
    computed_in = "float64" if step == "collapse" else "float32"
    inputs = f"{computed_in}: none, written by hand"
    measured = Measurement(inputs=inputs, error=0.0, tolerance=tolerance, computed_in=computed_in)
    return ProofStep(step=step, subject="model", reads=reads, writes=writes, measurements=(measured,))
