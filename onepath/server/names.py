"""The names of a deployed pipeline: its models, the tensors between them, and the files of the front door."""

from __future__ import annotations

import re
from collections import Counter

from onepath.contract.bundle import MANIFEST, MANIFEST_DIGEST
from onepath.contract.deployment import DEPLOYMENT, DEPLOYMENT_DIGEST
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.manifest import Manifest
from onepath.contract.tensors import PRESENCE, ROW_STATUS, state_name, status_name

VERSION = "1"
"""The only version folder of a model: a deployed model never changes, a new bundle has new names."""
CONFIG = "config.pbtxt"
MODEL_CODE = "model.py"
MODEL_GRAPH = "model.onnx"
MODALITY = "modality.json"
PROBES = "probes.json"
RECORDS = (DEPLOYMENT, DEPLOYMENT_DIGEST)
FRONT_DOOR_FILES = (MANIFEST, MANIFEST_DIGEST, PROBES, *RECORDS)

PAYLOAD, VALUES, STATE, STATUS = "payload", "values", "state", "status"
"""The tensors of a preprocessing model."""

_GRAPH = "graph"


def preprocess_name(front_door: str, short_id: str, modality: str) -> str:
    """Return the name of a modality's preprocessing model.

    >>> preprocess_name("digits", "3f9c0a1b2c3d", "image")
    'digits.3f9c0a1b2c3d.image'
    """
    return f"{front_door}.{short_id}.{modality}"


def graph_name(front_door: str, short_id: str) -> str:
    """Return the name of the model that holds the graph.

    >>> graph_name("digits", "3f9c0a1b2c3d")
    'digits.3f9c0a1b2c3d.graph'
    """
    return f"{front_door}.{short_id}.{_GRAPH}"


def is_inner_model(name: str, front_door: str) -> bool:
    """Return whether a model of this name belongs to a pipeline of that front door.

    >>> is_inner_model("digits.3f9c0a1b2c3d.image", "digits"), is_inner_model("digits-2", "digits")
    (True, False)
    """
    return re.fullmatch(rf"{re.escape(front_door)}\.[0-9a-f]{{12}}\.[a-z][a-z0-9_]*", name) is not None


def check_names(manifest: Manifest) -> None:
    """Check that no two tensors of the front door, and no two models of the pipeline, would have one name.

    Raises:
        BundleIntegrityError: naming the clash.
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
