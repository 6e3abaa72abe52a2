"""Checking deployed pipelines: every file's digest, and that they are what their bundle's manifest says."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from onepath.contract.bundle import MANIFEST, check_files, digest_line, manifest_from_folder
from onepath.contract.deployment import DEPLOYMENT, DEPLOYMENT_DIGEST, Deployment
from onepath.contract.digests import sha256_from_bytes
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.manifest import FileEntry, Manifest
from onepath.server.layout import bundle_assets, bytes_from_modality
from onepath.server.names import (
    FRONT_DOOR_FILES,
    MODALITY,
    MODEL_GRAPH,
    PROBES,
    RECORDS,
    VERSION,
    graph_name,
    preprocess_name,
)

_ADVICE = "deploy the bundle again"


def verify_repository(repository: Path) -> list[Deployment]:
    """Return the record of every pipeline of a model repository, after reading and hashing all of their files.

    Models that onepath did not deploy are left alone.

    Raises:
        BundleIntegrityError: naming the file that is missing, extra, changed or a link.
    """
    if not repository.is_dir():
        raise BundleIntegrityError(str(repository), "is not a folder", advice="deploy a bundle to it first")
    return [verify_pipeline(repository, name) for name in front_doors(repository)]


def front_doors(repository: Path) -> list[str]:
    """Return the names of the deployed pipelines, sorted, whether or not they are intact."""
    folders = sorted(path for path in repository.iterdir() if not path.name.startswith("."))
    return [path.name for path in folders if any((path / VERSION / name).exists() for name in FRONT_DOOR_FILES)]


def verify_pipeline(repository: Path, front_door: str) -> Deployment:
    """Return the record of one pipeline, after checking all of its files.

    Raises:
        BundleIntegrityError: naming the file that is wrong.
    """
    deployment = read_deployment(repository, front_door)
    for model in (*deployment.models, front_door):
        _check_model(repository, model, deployment)
    _check_origin(repository, deployment)
    return deployment


def read_deployment(repository: Path, front_door: str) -> Deployment:
    """Return the record of one pipeline, checked against its own digest only.

    Raises:
        BundleIntegrityError: the record is missing, was changed, or is that of another front door.
    """
    folder = repository / front_door / VERSION
    for name in RECORDS:
        if not (folder / name).is_file():
            raise BundleIntegrityError(name, "is missing", root=str(folder), advice=_ADVICE)
    data = (folder / DEPLOYMENT).read_bytes()
    if (folder / DEPLOYMENT_DIGEST).read_bytes() != digest_line(sha256_from_bytes(data), DEPLOYMENT).encode():
        problem = f"was changed, or {DEPLOYMENT_DIGEST} was: the two do not fit together"
        raise BundleIntegrityError(DEPLOYMENT, problem, root=str(folder), advice=_ADVICE)
    try:
        deployment = Deployment.model_validate_json(data)
    except ValidationError as error:
        problem = f"is not a valid record ({' '.join(str(error).split())[:200]})"
        raise BundleIntegrityError(DEPLOYMENT, problem, root=str(folder), advice=_ADVICE) from error
    if deployment.front_door != front_door:
        problem = f"is the record of {deployment.front_door}"
        raise BundleIntegrityError(DEPLOYMENT, problem, root=str(folder), advice=_ADVICE)
    return deployment


def _check_model(repository: Path, model: str, deployment: Deployment) -> None:
    folder = repository / model
    if folder.is_symlink():
        raise BundleIntegrityError(model, "is a symbolic link", root=str(repository), advice=_ADVICE)
    if not folder.is_dir():
        raise BundleIntegrityError(model, "is missing", root=str(repository), advice=_ADVICE)
    besides = _bytecode(folder)
    if model == deployment.front_door:
        besides += [f"{VERSION}/{name}" for name in RECORDS]
    check_files(folder, _files_of(model, deployment), besides=besides)


def _files_of(model: str, deployment: Deployment) -> dict[str, FileEntry]:
    prefix = f"{model}/"
    files = deployment.files.items()
    return {name.removeprefix(prefix): entry for name, entry in files if name.startswith(prefix)}


def _bytecode(folder: Path) -> list[str]:
    # Python writes these beside model.py where the server was not told to leave it.
    return [path.relative_to(folder).as_posix() for path in folder.glob(f"{VERSION}/__pycache__/*.pyc")]


def _check_origin(repository: Path, deployment: Deployment) -> None:
    """Check that the files are those of the bundle whose id the record carries."""
    manifest, bundle_id = manifest_from_folder(repository / deployment.front_door / VERSION)
    if bundle_id != deployment.bundle_id:
        root = str(repository / deployment.front_door)
        raise BundleIntegrityError(MANIFEST, "is not that of the deployed bundle", root=root, advice=_ADVICE)
    for name, digest in _digests_from_manifest(manifest, deployment).items():
        if name not in deployment.files or deployment.files[name].sha256 != digest:
            problem = f"is not the file of bundle {bundle_id[:12]}"
            raise BundleIntegrityError(name, problem, root=str(repository), advice=_ADVICE)


def _digests_from_manifest(manifest: Manifest, deployment: Deployment) -> dict[str, str]:
    front_door, short_id = deployment.front_door, deployment.bundle_id[:12]
    digests = {
        f"{graph_name(front_door, short_id)}/{VERSION}/{MODEL_GRAPH}": manifest.files[manifest.graph.file].sha256,
        f"{front_door}/{VERSION}/{PROBES}": manifest.files[manifest.probes].sha256,
    }
    for entry in manifest.modalities:
        folder = f"{preprocess_name(front_door, short_id, entry.name)}/{VERSION}"
        digests[f"{folder}/{MODALITY}"] = sha256_from_bytes(bytes_from_modality(entry))
        for asset, source in bundle_assets(manifest.files, entry.name).items():
            digests[f"{folder}/{asset}"] = manifest.files[source].sha256
    return digests
