"""What an engine needs of a bundle, wherever its files lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onepath.contract.bundle import Bundle
from onepath.contract.manifest import Manifest


@dataclass(frozen=True)
class Pipeline:
    """A model and its preprocessing, in a bundle's folder or in a model repository.

    Attributes:
        id: the 64 digits of the bundle's id.
        manifest: what the bundle says of itself.
        graph_path: the ONNX graph.
        assets: modality to the folder of its own files, such as a vocabulary.
    """

    id: str
    manifest: Manifest
    graph_path: Path
    assets: Mapping[str, Path]


def pipeline_from_bundle(bundle: Bundle) -> Pipeline:
    """Return what an engine needs of a bundle."""
    assets = {name: bundle.path / "assets" / name for name in bundle.manifest.modality_names}
    return Pipeline(id=bundle.id, manifest=bundle.manifest, graph_path=bundle.graph_path, assets=assets)
