"""Which files a pipeline consists of, and the record of them; its bundle and its settings decide every byte."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import PurePosixPath

from onepath.contract.bundle import MANIFEST, MANIFEST_DIGEST, SIGNATURE, digest_line
from onepath.contract.deployment import DEPLOYMENT, DEPLOYMENT_DIGEST, Deployment
from onepath.contract.digests import canonical_json, sha256_from_bytes
from onepath.contract.engines import FUSION, GRAPH
from onepath.contract.manifest import FileEntry, Manifest, ModalityEntry
from onepath.contract.presence import PRESENT
from onepath.contract.probes import ProbeSet
from onepath.server.config_parts import text_from_config
from onepath.server.configs import (
    WARMUP_PAYLOAD,
    WARMUP_STATE,
    encoder_config,
    engine_file,
    front_door_config,
    graph_config,
    is_split,
    preprocess_config,
)
from onepath.server.names import (
    CONFIG,
    MODALITY,
    MODEL_CODE,
    MODEL_GRAPH,
    PROBES,
    VERSION,
    check_names,
    encoder_name,
    graph_name,
    preprocess_name,
)
from onepath.server.source import Source

Files = dict[str, bytes | PurePosixPath]
"""Path relative to the repository to its content, or to the path of the bundle's file that it is a copy of."""

_CODE = b'''"""Preprocessing of one modality: the code is onepath's, the modality is described in modality.json."""

from onepath.server.models.preprocess import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def files_from_source(source: Source) -> Files:
    """Return every file of the pipeline but the deployment record's two.

    Raises:
        BundleIntegrityError: two things of the pipeline would have one name.
    """
    check_names(source.manifest)
    files = _front_door_files(source) | _graph_files(source)
    for entry in source.manifest.modalities:
        files |= _preprocess_files(source, entry)
        if is_split(source.manifest):
            files |= _encoder_files(source, entry)
    return files


def deployment_from_source(source: Source) -> Deployment:
    """Return the record of a pipeline; the digests of copied files are those that the manifest lists.

    Raises:
        BundleIntegrityError: two things of the pipeline would have one name.
    """
    files = sorted(files_from_source(source).items())
    return Deployment(
        front_door=source.manifest.name,
        bundle_id=source.bundle_id,
        settings=source.recorded_settings,
        models=models_from_manifest(source.manifest, source.pipeline_id),
        files={name: _entry(content, source.manifest) for name, content in files},
    )


def models_from_manifest(manifest: Manifest, pipeline: str) -> tuple[str, ...]:
    """Return the names of a pipeline's inner models: one per modality in their order, then the graph's.

    Between them come the encoders of an engine in parts, in the same order.

    Args:
        manifest: as deployed.
        pipeline: the 12 digits.
    """
    names = manifest.modality_names
    encoders = [encoder_name(manifest.name, pipeline, name) for name in names if is_split(manifest)]
    return (
        *(preprocess_name(manifest.name, pipeline, name) for name in names),
        *encoders,
        graph_name(manifest.name, pipeline),
    )


def record_files(deployment: Deployment) -> dict[str, bytes]:
    """Return the two files of the record, by path relative to the repository."""
    record = canonical_json(deployment.model_dump(mode="json"))
    folder = f"{deployment.front_door}/{VERSION}"
    line = digest_line(sha256_from_bytes(record), DEPLOYMENT)
    return {f"{folder}/{DEPLOYMENT}": record, f"{folder}/{DEPLOYMENT_DIGEST}": line.encode()}


def bundle_assets(files: Mapping[str, FileEntry], modality: str) -> dict[str, str]:
    """Return the files that a modality's settings may name: path in the assets folder to path in the bundle.

    >>> bundle_assets({"assets/text/vocabulary.json": None, "model.onnx": None}, "text")
    {'vocabulary.json': 'assets/text/vocabulary.json'}
    """
    prefix = f"assets/{modality}/"
    return {name.removeprefix(prefix): name for name in files if name.startswith(prefix)}


def _front_door_files(source: Source) -> Files:
    name, manifest = source.manifest.name, source.manifest
    config = front_door_config(manifest, source.bundle_id, source.pipeline_id)
    signature: Files = {} if source.signature is None else {f"{name}/{VERSION}/{SIGNATURE}": source.signature}
    return signature | {
        f"{name}/{CONFIG}": text_from_config(config),
        f"{name}/{VERSION}/{MANIFEST}": source.manifest_bytes,
        f"{name}/{VERSION}/{MANIFEST_DIGEST}": digest_line(source.bundle_id, MANIFEST).encode(),
        f"{name}/{VERSION}/{PROBES}": PurePosixPath(manifest.probes),
    }


def _graph_files(source: Source) -> Files:
    manifest, settings = source.manifest, source.settings
    name = graph_name(manifest.name, source.pipeline_id)
    files: Files = {
        f"{name}/{CONFIG}": text_from_config(graph_config(name, manifest, settings)),
        f"{name}/warmup/{WARMUP_STATE}": bytes([PRESENT]),
    }
    if manifest.engines:
        return files | _engine_files(source, name, FUSION if is_split(manifest) else GRAPH)
    files[f"{name}/{VERSION}/{MODEL_GRAPH}"] = PurePosixPath(manifest.graph.file)
    if manifest.graph.data is not None:  # under its own name, by which the graph looks for it beside itself
        data = PurePosixPath(manifest.graph.data)
        files[f"{name}/{VERSION}/{data.name}"] = data
    return files


def _encoder_files(source: Source, entry: ModalityEntry) -> Files:
    name = encoder_name(source.manifest.name, source.pipeline_id, entry.name)
    config = encoder_config(name, entry, source.manifest, source.settings)
    return {f"{name}/{CONFIG}": text_from_config(config), **_engine_files(source, name, entry.name)}


def _engine_files(source: Source, model: str, part: str) -> Files:
    """Return a part of the engine for every kind of GPU that it was built for, of which a server loads its own."""
    return {
        f"{model}/{VERSION}/{engine_file(engine.compute_capability)}": PurePosixPath(engine.files[part])
        for engine in source.manifest.engines
    }


def _preprocess_files(source: Source, entry: ModalityEntry) -> Files:
    name = preprocess_name(source.manifest.name, source.pipeline_id, entry.name)
    payload = _probe_payload(source.probes, entry.name)
    config = preprocess_config(name, entry, source.manifest, source.settings, warm_up=payload is not None)
    files: Files = {
        f"{name}/{CONFIG}": text_from_config(config),
        f"{name}/{VERSION}/{MODEL_CODE}": _CODE,
        f"{name}/{VERSION}/{MODALITY}": canonical_json(entry.model_dump(mode="json")),
    }
    for asset, path in bundle_assets(source.manifest.files, entry.name).items():
        files[f"{name}/{VERSION}/{asset}"] = PurePosixPath(path)
    if payload is not None:
        files[f"{name}/warmup/{WARMUP_PAYLOAD}"] = struct.pack("<I", len(payload)) + payload
    return files


def _probe_payload(probes: ProbeSet, modality: str) -> bytes | None:
    return next((row.payloads[modality] for row in probes.rows if modality in row.payloads), None)


def _entry(content: bytes | PurePosixPath, manifest: Manifest) -> FileEntry:
    if isinstance(content, PurePosixPath):
        return manifest.files[str(content)]
    return FileEntry(sha256=sha256_from_bytes(content), size_bytes=len(content))
