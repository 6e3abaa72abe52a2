"""Which files a pipeline consists of, and the record of them; its bundle and its settings decide every byte."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from onepath.contract.bundle import MANIFEST, MANIFEST_DIGEST, Bundle, digest_line
from onepath.contract.deployment import DEPLOYMENT, DEPLOYMENT_DIGEST, Deployment
from onepath.contract.digests import canonical_json, sha256_from_bytes
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.manifest import FileEntry, Manifest, ModalityEntry
from onepath.contract.presence import PRESENT
from onepath.contract.probes import ProbeSet
from onepath.server.configs import (
    WARMUP_PAYLOAD,
    WARMUP_STATE,
    front_door_config,
    graph_config,
    preprocess_config,
    text_from_config,
)
from onepath.server.names import (
    CONFIG,
    MODALITY,
    MODEL_CODE,
    MODEL_GRAPH,
    PROBES,
    VERSION,
    check_names,
    graph_name,
    pipeline_id,
    preprocess_name,
)
from onepath.server.settings import DeploySettings

Files = dict[str, bytes | PurePosixPath]
"""Path relative to the repository to its content, or to the path of the bundle's file that it is a copy of."""

_CODE = b'''"""Preprocessing of one modality: the code is onepath's, the modality is described in modality.json."""

from onepath.server.models.preprocess import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


@dataclass(frozen=True)
class Source:
    """What decides every file of a pipeline.

    Attributes:
        manifest: the bundle's.
        manifest_bytes: its file, whose digest is the bundle's id.
        probes: the bundle's.
        settings: with every number filled in.
    """

    manifest: Manifest
    manifest_bytes: bytes
    probes: ProbeSet
    settings: DeploySettings

    @property
    def bundle_id(self) -> str:
        """The 64 digits of the bundle's id."""
        return sha256_from_bytes(self.manifest_bytes)

    @property
    def recorded_settings(self) -> dict[str, Any]:
        """The settings as JSON holds them."""
        return self.settings.model_dump(mode="json")

    @property
    def pipeline_id(self) -> str:
        """The 12 digits in the names of the inner models."""
        return pipeline_id(self.bundle_id, self.recorded_settings)


def source_from_bundle(bundle: Bundle, settings: DeploySettings) -> Source:
    """Return what decides the files of a bundle's pipeline on this machine.

    Raises:
        BundleIntegrityError: the bundle's manifest changed since it was opened.
    """
    data = (bundle.path / MANIFEST).read_bytes()
    if sha256_from_bytes(data) != bundle.id:
        raise BundleIntegrityError(MANIFEST, "was changed since the bundle was opened", root=str(bundle.path))
    return Source(bundle.manifest, data, bundle.probes, settings.resolved())


def files_from_source(source: Source) -> Files:
    """Return every file of the pipeline but the deployment record's two.

    Raises:
        BundleIntegrityError: two things of the pipeline would have one name.
    """
    check_names(source.manifest)
    files = _front_door_files(source) | _graph_files(source)
    for entry in source.manifest.modalities:
        files |= _preprocess_files(source, entry)
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
    """Return the names of a pipeline's inner models: one per modality in their order, then the graph's."""
    inner = [preprocess_name(manifest.name, pipeline, name) for name in manifest.modality_names]
    return (*inner, graph_name(manifest.name, pipeline))


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
    return {
        f"{name}/{CONFIG}": text_from_config(config),
        f"{name}/{VERSION}/{MANIFEST}": source.manifest_bytes,
        f"{name}/{VERSION}/{MANIFEST_DIGEST}": digest_line(source.bundle_id, MANIFEST).encode(),
        f"{name}/{VERSION}/{PROBES}": PurePosixPath(manifest.probes),
    }


def _graph_files(source: Source) -> Files:
    name = graph_name(source.manifest.name, source.pipeline_id)
    return {
        f"{name}/{CONFIG}": text_from_config(graph_config(name, source.manifest, source.settings)),
        f"{name}/{VERSION}/{MODEL_GRAPH}": PurePosixPath(source.manifest.graph.file),
        f"{name}/warmup/{WARMUP_STATE}": bytes([PRESENT]),
    }


def _preprocess_files(source: Source, entry: ModalityEntry) -> Files:
    name = preprocess_name(source.manifest.name, source.pipeline_id, entry.name)
    payload = _probe_payload(source.probes, entry.name)
    rows = source.manifest.graph.max_batch_size
    config = preprocess_config(name, entry, rows, source.settings, warm_up=payload is not None)
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
