"""Which files a deployed bundle consists of, and the record of them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from onepath.contract.bundle import MANIFEST, MANIFEST_DIGEST, Bundle, digest_line
from onepath.contract.deployment import DEPLOYMENT, DEPLOYMENT_DIGEST, Deployment
from onepath.contract.digests import canonical_json, sha256_from_bytes
from onepath.contract.manifest import FileEntry, ModalityEntry
from onepath.contract.presence import PRESENT
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
    preprocess_name,
)
from onepath.server.settings import DeploySettings

Files = dict[str, bytes | Path]
"""Path relative to the repository to its content, or to the bundle's file that it is a copy of."""

_CODE = b'''"""Preprocessing of one modality: the code is onepath's, the modality is described in modality.json."""

from onepath.server.models.preprocess import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def files_from_bundle(bundle: Bundle, settings: DeploySettings) -> Files:
    """Return every file of the pipeline but the deployment record's two.

    Raises:
        BundleIntegrityError: two things of the pipeline would have one name.
    """
    check_names(bundle.manifest)
    files = _front_door_files(bundle) | _graph_files(bundle, settings)
    for entry in bundle.manifest.modalities:
        files |= _preprocess_files(bundle, entry, settings)
    return files


def deployment_from_files(bundle: Bundle, files: Files) -> Deployment:
    """Return the record of a pipeline; the digests of copied files are those that the manifest lists."""
    front_door, short_id = bundle.manifest.name, bundle.short_id
    inner = [preprocess_name(front_door, short_id, name) for name in bundle.manifest.modality_names]
    return Deployment(
        front_door=front_door,
        bundle_id=bundle.id,
        models=(*inner, graph_name(front_door, short_id)),
        files={name: _entry(content, bundle) for name, content in sorted(files.items())},
    )


def record_files(deployment: Deployment) -> dict[str, bytes]:
    """Return the two files of the record, by path relative to the repository."""
    record = canonical_json(deployment.model_dump(mode="json"))
    folder = f"{deployment.front_door}/{VERSION}"
    line = digest_line(sha256_from_bytes(record), DEPLOYMENT)
    return {f"{folder}/{DEPLOYMENT}": record, f"{folder}/{DEPLOYMENT_DIGEST}": line.encode()}


def bytes_from_modality(entry: ModalityEntry) -> bytes:
    """Return the content of `modality.json`."""
    return canonical_json(entry.model_dump(mode="json"))


def bundle_assets(files: Mapping[str, FileEntry], modality: str) -> dict[str, str]:
    """Return the files that a modality's settings may name: path in the assets folder to path in the bundle.

    >>> bundle_assets({"assets/text/vocabulary.json": None, "model.onnx": None}, "text")
    {'vocabulary.json': 'assets/text/vocabulary.json'}
    """
    prefix = f"assets/{modality}/"
    return {name.removeprefix(prefix): name for name in files if name.startswith(prefix)}


def _front_door_files(bundle: Bundle) -> Files:
    name, manifest = bundle.manifest.name, bundle.manifest
    config = front_door_config(manifest, bundle.id, bundle.short_id)
    return {
        f"{name}/{CONFIG}": text_from_config(config),
        f"{name}/{VERSION}/{MANIFEST}": (bundle.path / MANIFEST).read_bytes(),
        f"{name}/{VERSION}/{MANIFEST_DIGEST}": (bundle.path / MANIFEST_DIGEST).read_bytes(),
        f"{name}/{VERSION}/{PROBES}": bundle.path / manifest.probes,
    }


def _graph_files(bundle: Bundle, settings: DeploySettings) -> Files:
    name = graph_name(bundle.manifest.name, bundle.short_id)
    return {
        f"{name}/{CONFIG}": text_from_config(graph_config(name, bundle.manifest, settings)),
        f"{name}/{VERSION}/{MODEL_GRAPH}": bundle.graph_path,
        f"{name}/warmup/{WARMUP_STATE}": bytes([PRESENT]),
    }


def _preprocess_files(bundle: Bundle, entry: ModalityEntry, settings: DeploySettings) -> Files:
    name = preprocess_name(bundle.manifest.name, bundle.short_id, entry.name)
    payload = _probe_payload(bundle, entry.name)
    rows = bundle.manifest.graph.max_batch_size
    config = preprocess_config(name, entry, rows, settings, warm_up=payload is not None)
    files: Files = {
        f"{name}/{CONFIG}": text_from_config(config),
        f"{name}/{VERSION}/{MODEL_CODE}": _CODE,
        f"{name}/{VERSION}/{MODALITY}": bytes_from_modality(entry),
    }
    for asset, source in bundle_assets(bundle.manifest.files, entry.name).items():
        files[f"{name}/{VERSION}/{asset}"] = bundle.path / source
    if payload is not None:
        files[f"{name}/warmup/{WARMUP_PAYLOAD}"] = struct.pack("<I", len(payload)) + payload
    return files


def _probe_payload(bundle: Bundle, modality: str) -> bytes | None:
    return next((row.payloads[modality] for row in bundle.probes.rows if modality in row.payloads), None)


def _entry(content: bytes | Path, bundle: Bundle) -> FileEntry:
    if isinstance(content, Path):
        return bundle.manifest.files[content.relative_to(bundle.path).as_posix()]
    return FileEntry(sha256=sha256_from_bytes(content), size_bytes=len(content))
