"""What a bundle says of an engine: its entry in the manifest, its link of the proof chain, and its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from onepath.contract.bundle import Bundle
from onepath.contract.digests import joined_digest, sha256_from_bytes
from onepath.contract.engines import engine_folder
from onepath.contract.graphs import EngineEntry, GraphEntry
from onepath.contract.manifest import Manifest
from onepath.contract.proofs import Measurement, ProofStep
from onepath.contract.tensors import TensorSpec
from onepath.contract.writing import amend_bundle
from onepath.export.engine.audit import Audit
from onepath.export.engine.builder import BuildOptions, EngineBuilder

Notes = Mapping[str, str | int | float]

_CAPABILITY = "compute_capability"


def entry_of_engine(
    graph: GraphEntry,
    options: BuildOptions,
    builder: EngineBuilder,
    *,
    parts: Mapping[str, bytes],
    features: Sequence[TensorSpec],
) -> EngineEntry:
    """Return what the manifest says of an engine.

    Args:
        graph: that it was made of.
        options: how it was built.
        builder: which built it.
        parts: part to engine.
        features: what passes between the parts.
    """
    device = builder.device
    folder = engine_folder(device.compute_capability, graph.precision)
    return EngineEntry(
        files={part: f"{folder}/{part}.plan" for part in sorted(parts)},  # the order in which JSON keeps them
        graph=graph.file,
        precision=graph.precision,
        compute_capability=device.compute_capability,
        gpu=device.name,
        tensorrt=builder.version,
        opt_rows=options.opt_rows,
        max_rows=options.max_rows,
        features=tuple(features),
    )


def proof_of_engine(
    manifest: Manifest,
    entry: EngineEntry,
    parts: Mapping[str, bytes],
    measurements: tuple[Measurement, ...],
    *,
    notes: Notes,
) -> ProofStep:
    """Return the link of the chain that leads from a graph to an engine."""
    graph = next(each for each in manifest.graphs if each.file == entry.graph)
    return ProofStep(
        step="engine",
        subject=f"{entry.precision} on {entry.gpu}",
        reads=joined_digest(manifest.files[name].sha256 for name in graph.files),
        writes=joined_digest(sha256_from_bytes(parts[part]) for part in entry.files),
        measurements=measurements,
        notes={**notes, "tensorrt": entry.tensorrt, _CAPABILITY: entry.compute_capability},
    )


def notes_of(audit: Audit, against: str) -> Notes:
    """Return the figures of an audit that a proof keeps, and what the engine was held against."""
    counts = {f"products_in_{precision}": count for precision, count in audit.counts.items()}
    return {"against": against, "product_share": audit.share, "products_in_graph": audit.in_graph, **counts}


def add_engine(path: Path, entry: EngineEntry, proof: ProofStep, parts: Mapping[str, bytes]) -> Bundle:
    """Return a bundle with an engine, in the place of an older one for the same kind of GPU and precision.

    Raises:
        BundleIntegrityError: the bundle is not intact.
    """
    contents = {file: parts[part] for part, file in entry.files.items()}

    def change(manifest: Manifest) -> Manifest:
        kept = [engine for engine in manifest.engines if _kind(engine) != _kind(entry)]
        old = [engine for engine in manifest.engines if _kind(engine) == _kind(entry)]
        gone = {file for engine in old for file in engine.files.values()} - {*contents}
        proved = {(engine.compute_capability, _digest(manifest, engine)) for engine in kept}
        proofs = [each for each in manifest.proofs if each.step != "engine" or _proved(each) in proved]
        files = {name: file for name, file in manifest.files.items() if name not in gone}
        changes = {"engines": (*kept, entry), "files": files, "proofs": (*proofs, proof)}
        return manifest.model_copy(update=changes)

    return amend_bundle(path, contents, change)


def _proved(proof: ProofStep) -> tuple[str | int | float | None, str]:
    return proof.notes.get(_CAPABILITY), proof.writes


def _digest(manifest: Manifest, engine: EngineEntry) -> str:
    return joined_digest(manifest.files[file].sha256 for file in engine.files.values())


def _kind(engine: EngineEntry) -> tuple[str, str]:
    return engine.compute_capability, engine.precision
