"""Random damage to a bundle, and what becomes of it; light, because it runs in a process that damage may end."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime as ort

from onepath.contract.bundle import MANIFEST, MANIFEST_DIGEST, digest_line, open_bundle
from onepath.contract.digests import canonical_json, sha256_from_bytes
from onepath.contract.errors import OnepathError
from onepath.contract.probes import probes_from_file
from onepath.contract.tensors import state_name
from onepath.modalities import decode_rows, processor_from_entry
from onepath.scoring.checks import first_broken
from onepath.scoring.rerun import rerun

TEXT = (".json", ".sha256", ".txt")


def files_of(path):
    return sorted(file for file in path.rglob("*") if file.is_file())


def flip(data: bytes, generator, first=0) -> bytes:
    """Return data with one bit changed, from some byte on."""
    changed = bytearray(data)
    changed[generator.integers(first, len(data))] ^= 1 << generator.integers(8)
    return bytes(changed)


def another_line(data: bytes, generator) -> bytes:
    """Return text from which a line was deleted, in which one is there twice, or two that differ changed places."""
    while True:
        lines = data.splitlines(keepends=True)
        one, two = generator.integers(len(lines), size=2)
        kind = generator.integers(3)
        if kind == 0:
            del lines[one]
        elif kind == 1:
            lines.insert(one, lines[one])
        else:
            lines[one], lines[two] = lines[two], lines[one]
        if b"".join(lines) != data:
            return b"".join(lines)


def put(path, name, data, *, chain=True):
    """Write a file of a bundle and correct its digest, and those of the proof chain where asked for."""
    raw = json.loads((path / MANIFEST).read_text())
    old, new = raw["files"][name]["sha256"], sha256_from_bytes(data)
    (path / name).write_bytes(data)
    raw["files"][name] = {"sha256": new, "size_bytes": len(data)}
    for proof in raw["proofs"] if chain else ():
        proof |= {end: new for end in ("reads", "writes") if proof[end] == old}
    write_manifest(path, canonical_json(raw))


def write_manifest(path, data):
    (path / MANIFEST).write_bytes(data)
    (path / MANIFEST_DIGEST).write_text(digest_line(sha256_from_bytes(data), MANIFEST))


def refusal(path) -> str:
    """Return why a bundle is refused when it is opened or measured again; empty where it is accepted."""
    try:
        check = first_broken(rerun(open_bundle(path)))
    except OnepathError as error:
        return str(error)
    return "" if check is None else f"{check.measured}: {check.note}"


def examined(path: Path, original: Path) -> tuple[float, str]:
    """Return how far a changed bundle's answers are from the original's, without onepath's word on it, and its refusal.

    The answers are those that its graphs give to its probes here and now, those that its probes expect, and those that
    it stores; infinite where there are none.
    """
    try:
        moved = _moved(path, original)
    except Exception:  # noqa: BLE001 - whatever a decoder, a parser or an engine makes of damaged data
        moved = float("inf")
    return moved, refusal(path)


def _moved(path, original):
    distances = [
        float(np.abs(new.astype(np.float64) - old).max())
        for new, old in zip(_said(path, original), _said_by_the_original(original), strict=True)
    ]
    return float("inf") if np.isnan(distances).any() else max(distances)


@cache
def _said_by_the_original(original):
    return _said(original, original)


def _said(path, original):
    """Return what the probes expect, what each graph answers to them, and what is stored for each stage."""
    manifest = _manifest(original)
    probes = probes_from_file(path / manifest.probes)
    is_as_it_was = (path / manifest.probes).read_bytes() == (original / manifest.probes).read_bytes()
    feeds = _feeds_of_the_original(original) if is_as_it_was else _feeds(original, probes)
    with np.load(path / manifest.answers) as stored:
        stages = [stored[name] for name in sorted(stored.files)]
    return [probes.expected(), *(_answers(path / graph.file, feeds) for graph in manifest.graphs), *stages]


@cache
def _manifest(original):
    return open_bundle(original).manifest


@cache
def _feeds_of_the_original(original):
    return _feeds(original, probes_from_file(original / _manifest(original).probes))


def _feeds(original, probes):
    feeds = {}
    for entry in _manifest(original).modalities:
        payloads = [row.payloads.get(entry.name, b"") for row in probes.rows]
        processor = processor_from_entry(entry, original / "assets" / entry.name)
        decoded = decode_rows(processor, payloads, absent=entry.absent, on_bad_payload=entry.on_bad_payload)
        feeds |= {entry.name: decoded.values, state_name(entry.name): decoded.states.reshape(-1, 1)}
    return feeds


def _answers(graph, feeds):
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(["scores"], feeds)[0]
