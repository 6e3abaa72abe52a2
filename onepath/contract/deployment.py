"""The record of a deployed pipeline: which bundle it came from, and the digest of every file that serves it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from onepath.contract.manifest import BundleName, FileEntry
from onepath.contract.tensors import Closed

DEPLOYMENT = "deployment.json"
DEPLOYMENT_DIGEST = "deployment.sha256"
CONFIG_PARAMETER = "onepath"
"""The key of the front door's config parameter that holds a `PipelineCard` as JSON."""


class Deployment(Closed):
    """What `onepath deploy` wrote, kept in the front door's version folder.

    Attributes:
        front_door: the name that clients call.
        bundle_id: the 64 digits of the bundle's id.
        settings: the deploy settings, every number filled in; they and the bundle's id decide the models' names.
        models: names of the inner models, each a folder of the repository: a modality's each, and the graph's last.
        files: path relative to the repository to size and digest, for every file of the pipeline but this record's two.
    """

    front_door: str = Field(pattern=BundleName)
    bundle_id: str = Field(pattern="^[0-9a-f]{64}$")
    settings: dict[str, Any]  # the server's own model validates it
    models: tuple[str, ...]
    files: dict[str, FileEntry]


class CardModality(Closed):
    """What a client has to know of a modality: its name, and how to encode a value for it."""

    name: str
    kind: str


class PipelineCard(Closed):
    """What a client has to know of a pipeline; it travels in the front door's config parameters.

    Attributes:
        bundle_id: the 64 digits of the bundle's id.
        task: `classification` or `embedding`.
        labels: one per score.
        modalities: in the order of the presence columns.
        outputs: names of the task's tensors, the task's own first.
        max_batch_size: the most rows of one request.
    """

    bundle_id: str
    task: str
    labels: tuple[str, ...]
    modalities: tuple[CardModality, ...]
    outputs: tuple[str, ...]
    max_batch_size: int
