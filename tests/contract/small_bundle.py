"""The smallest folder that is a bundle, without a graph that runs."""

from pathlib import Path

from onepath.contract.bundle import MANIFEST, MANIFEST_DIGEST, digest_line
from onepath.contract.digests import canonical_json, sha256_from_bytes
from onepath.contract.graphs import GraphEntry
from onepath.contract.manifest import FileEntry, Manifest, ModalityEntry
from onepath.contract.probes import Probe, ProbeSet
from onepath.contract.proofs import Measurement, ProofStep
from onepath.contract.tensors import TensorSpec

HEADER = b'{"weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}   '
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + b"\x00\x00\x80?\x00\x00\x00@"
GRAPH = b"\x08\x0a" + b"\x3a\x07" + b"\x12\x05empty"
"""An ONNX model of IR version 10 with a graph named `empty`."""

FILES = {
    "weights/model.safetensors": WEIGHTS,
    "graphs/model.onnx": GRAPH,
    "probes.json": canonical_json(
        ProbeSet(output="scores", rows=(Probe(payloads={"image": b"\x00\xff"}, expected=(0.25, 0.75)),)).model_dump(
            mode="json"
        )
    ),
}
PARENT = sha256_from_bytes(b"parent")


def digest(name: str) -> str:
    return sha256_from_bytes(FILES[name])


def proof(step="collapse", *, reads=PARENT, writes=None, error=0.0, tolerance=None, computed_in=None):
    """Return a proof with one comparison, in float64 where a step has to be proved in it."""
    computed_in = computed_in or ("float64" if step in ("merge", "collapse") else "float32")
    measured = Measurement(
        inputs=f"{computed_in}, one row",
        error=error,
        tolerance=tolerance or (1e-10 if computed_in == "float64" else 1e-6),
        computed_in=computed_in,
    )
    writes = writes or digest("weights/model.safetensors")
    return ProofStep(step=step, subject="model", reads=reads, writes=writes, measurements=(measured,))


def manifest(**changes) -> Manifest:
    weights, graph = digest("weights/model.safetensors"), digest("graphs/model.onnx")
    fields = {
        "name": "small",
        "task": "classification",
        "labels": ("no", "yes"),
        "modalities": (
            ModalityEntry(name="image", kind="image", tensor=TensorSpec(name="image", dtype="uint8", shape=(1, 2, 2))),
        ),
        "outputs": (TensorSpec(name="scores", dtype="float32", shape=(2,)),),
        "graph": GraphEntry(file="graphs/model.onnx", opset=20, ir_version=10, max_batch_size=8),
        "weights": "weights/model.safetensors",
        "probes": "probes.json",
        "probe_tolerance": 1e-4,
        "proofs": (proof(), proof("onnx", reads=weights, writes=graph)),
        "files": {
            name: FileEntry(sha256=sha256_from_bytes(data), size_bytes=len(data)) for name, data in FILES.items()
        },
    }
    return Manifest(**(fields | changes))


def write_manifest(path: Path, data: bytes) -> None:
    (path / MANIFEST).write_bytes(data)
    (path / MANIFEST_DIGEST).write_text(digest_line(sha256_from_bytes(data), MANIFEST))


def write(path: Path, **changes) -> Path:
    for name, data in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    write_manifest(path, canonical_json(manifest(**changes).model_dump(mode="json")))
    return path
