"""The names of a deployed pipeline: its models, the tensors between them, and the files of the front door."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from onepath.contract.bundle import MANIFEST, MANIFEST_DIGEST, SHORT_ID
from onepath.contract.deployment import DEPLOYMENT, DEPLOYMENT_DIGEST
from onepath.contract.digests import canonical_json, sha256_from_bytes
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.manifest import Manifest
from onepath.contract.tensors import PRESENCE, ROW_STATUS, state_name, status_name

VERSION = "1"
"""The only version folder of a model: a deployed model never changes, a new bundle or setting has new names."""
CONFIG = "config.pbtxt"
MODEL_CODE = "model.py"
MODEL_GRAPH = "model.onnx"
MODALITY = "modality.json"
PROBES = "probes.json"
RECORDS = (DEPLOYMENT, DEPLOYMENT_DIGEST)
FRONT_DOOR_FILES = (MANIFEST, MANIFEST_DIGEST, PROBES, *RECORDS)

PAYLOAD, VALUES, STATE, STATUS = "payload", "values", "state", "status"
"""The tensors of a preprocessing model."""

_GRAPH, _ENCODER = "graph", "encoder"
_CODE_SUFFIXES = (".py", ".pyc", ".so")


def pipeline_id(bundle_id: str, settings: Mapping[str, Any]) -> str:
    """Return the 12 digits in the names of a pipeline's inner models: they stand for its bundle and its settings.

    >>> pipeline_id("3f9c", {"kind": "cpu"}), pipeline_id("3f9c", {"kind": "gpu"})
    ('0ee340f16dae', '006e63792703')
    """
    return sha256_from_bytes(canonical_json({"bundle_id": bundle_id, "settings": settings}))[:SHORT_ID]


def preprocess_name(front_door: str, pipeline: str, modality: str) -> str:
    """Return the name of a modality's preprocessing model in the pipeline of these 12 digits.

    >>> preprocess_name("digits", "3f9c0a1b2c3d", "image")
    'digits.3f9c0a1b2c3d.image'
    """
    return f"{front_door}.{pipeline}.{modality}"


def encoder_name(front_door: str, pipeline: str, modality: str) -> str:
    """Return the name of the model that encodes a modality, where that is not a part of the graph.

    >>> encoder_name("digits", "3f9c0a1b2c3d", "image")
    'digits.3f9c0a1b2c3d.image.encoder'
    """
    return f"{preprocess_name(front_door, pipeline, modality)}.{_ENCODER}"


def graph_name(front_door: str, pipeline: str) -> str:
    """Return the name of the model that holds the graph in the pipeline of these 12 digits.

    >>> graph_name("digits", "3f9c0a1b2c3d")
    'digits.3f9c0a1b2c3d.graph'
    """
    return f"{front_door}.{pipeline}.{_GRAPH}"


def is_inner_model(name: str, front_door: str) -> bool:
    """Return whether a model of this name belongs to a pipeline of that front door.

    >>> is_inner_model("digits.3f9c0a1b2c3d.image", "digits"), is_inner_model("digits-2", "digits")
    (True, False)
    """
    return re.fullmatch(rf"{re.escape(front_door)}\.[0-9a-f]{{12}}\.[a-z][a-z0-9_]*(\.{_ENCODER})?", name) is not None


def check_names(manifest: Manifest) -> None:
    """Check that no two tensors of the front door, and no two models or files of the pipeline, would have one name.

    Raises:
        BundleIntegrityError: naming the clash, or a file that would be code beside a model.
    """
    modalities = manifest.modality_names
    tensors = [*modalities, *map(status_name, modalities), *map(state_name, modalities), PRESENCE, ROW_STATUS]
    tensors += [spec.name for spec in manifest.outputs]
    twice = [name for name, count in Counter(tensors).items() if count > 1]
    clash = twice[0] if twice else _GRAPH if _GRAPH in modalities else None
    if clash:
        raise BundleIntegrityError(
            MANIFEST,
            f"gives the name {clash!r} to more than one thing",
            advice="rename the modality or the output in the recipe and build again",
        )
    for name in manifest.files:
        _check_asset_name(PurePosixPath(name))


def _check_asset_name(path: PurePosixPath) -> None:
    if path.parts[:1] == ("assets",) and (path.suffix in _CODE_SUFFIXES or path.parts[2:] == (MODALITY,)):
        raise BundleIntegrityError(
            str(path), "would lie beside a model as its code or description", advice="give the asset another name"
        )
