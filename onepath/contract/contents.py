"""What a bundle's files may hold: weights in safetensors, graphs that read nothing outside the bundle, and no code."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from onepath.contract.errors import BundleIntegrityError
from onepath.contract.file_names import content_problem
from onepath.contract.graph_files import outside_files
from onepath.contract.manifest import Manifest
from onepath.contract.weight_files import weight_tensors

_GRAPH, _WEIGHTS = ".onnx", ".safetensors"


def check_contents(manifest: Manifest, root: Path) -> None:
    """Check that every file of a bundle is of a kind that cannot run code or read other files, and is what it is named.

    Args:
        manifest: the bundle's, whose files are there.
        root: the bundle's folder.

    Raises:
        BundleIntegrityError: naming the first file that is not.
    """
    for name in sorted(manifest.files):
        problem = content_problem(name)
        if problem:
            raise BundleIntegrityError(name, problem, root=str(root), advice="keep weights in safetensors")
    _check_kinds(manifest, root)
    for name in sorted(manifest.files):
        try:
            if PurePosixPath(name).suffix == _WEIGHTS:
                weight_tensors(root / name)
            elif PurePosixPath(name).suffix == _GRAPH:
                _check_graph(name, manifest, root)
        except ValueError as error:
            what = "safetensors" if PurePosixPath(name).suffix == _WEIGHTS else "ONNX"
            raise BundleIntegrityError(name, f"is not {what} that can be trusted: {error}", root=str(root)) from error


def _check_kinds(manifest: Manifest, root: Path) -> None:
    kinds = [(manifest.weights, _WEIGHTS), *((graph.file, _GRAPH) for graph in manifest.graphs)]
    for name, suffix in kinds:
        if PurePosixPath(name).suffix != suffix:
            raise BundleIntegrityError(name, f"is not a {suffix} file", root=str(root))
    for graph in manifest.graphs:
        if graph.data is not None and PurePosixPath(graph.data).parent != PurePosixPath(graph.file).parent:
            raise BundleIntegrityError(graph.data, f"does not lie beside {graph.file}", root=str(root))


def _check_graph(name: str, manifest: Manifest, root: Path) -> None:
    data = next((graph.data for graph in manifest.graphs if graph.file == name), f"{name}.data")
    own = {PurePosixPath(data).name} if data in manifest.files else set[str]()
    outside = sorted(outside_files(root / name) - own)
    if outside:
        raise ValueError(f"it would read {outside[0]!r}, which is not its file of weights in this bundle")
