"""Checking deployed pipelines: every file's digest, and that they are what their bundle's manifest says."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from onepath.contract.bundle import MANIFEST, check_files, digest_line, manifest_from_folder
from onepath.contract.deployment import DEPLOYMENT, DEPLOYMENT_DIGEST, Deployment
from onepath.contract.digests import canonical_json, sha256_from_bytes
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.manifest import FileEntry, Manifest
from onepath.contract.probes import probes_from_file
from onepath.contract.signatures import signature_bytes
from onepath.server.config_parts import same_config
from onepath.server.layout import deployment_from_source, files_from_source, models_from_manifest
from onepath.server.names import CONFIG, FRONT_DOOR_FILES, MODEL_CODE, PROBES, RECORDS, VERSION, pipeline_id
from onepath.server.settings import DeploySettings
from onepath.server.source import Source
from onepath.server.variants import MissingVariantError, manifest_as_deployed

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
    manifest = _deployed_manifest(repository, deployment)
    for model in (*deployment.models, front_door):
        _check_model(repository, model, deployment)
    _check_origin(repository, deployment, manifest)
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


def manifest_of_pipeline(repository: Path, deployment: Deployment) -> Manifest:
    """Return the manifest of a pipeline's bundle, whose graph and engines are those that were deployed.

    Raises:
        BundleIntegrityError: the front door's manifest is not the deployed bundle's, or the record does not fit it.
    """
    folder = repository / deployment.front_door / VERSION
    manifest, bundle_id = manifest_from_folder(folder)
    if (bundle_id, manifest.name) != (deployment.bundle_id, deployment.front_door):
        raise BundleIntegrityError(MANIFEST, "is not that of the deployed bundle", root=str(folder), advice=_ADVICE)
    try:
        return manifest_as_deployed(manifest, _settings(deployment))
    except (ValidationError, MissingVariantError) as error:
        problem = f"has settings that are not valid ({' '.join(str(error).split())[:200]})"
        raise BundleIntegrityError(DEPLOYMENT, problem, root=str(folder), advice=_ADVICE) from error


def _settings(deployment: Deployment) -> DeploySettings:
    """Return the settings of a record, which says all of them: an older onepath's has fewer, and made other names."""
    settings = DeploySettings.model_validate_json(canonical_json(deployment.settings))
    unsaid = sorted({*DeploySettings.model_fields} - {*deployment.settings})
    if unsaid:
        problem = f"was written by an older onepath, which did not know the settings {', '.join(unsaid)}"
        raise BundleIntegrityError(DEPLOYMENT, problem, root=deployment.front_door, advice=_ADVICE)
    return settings


def _deployed_manifest(repository: Path, deployment: Deployment) -> Manifest:
    """Return a pipeline's manifest, after checking that the record is of its models and of no others."""
    manifest = manifest_of_pipeline(repository, deployment)
    models = models_from_manifest(manifest, pipeline_id(deployment.bundle_id, deployment.settings))
    if deployment.models != models:
        listed = ", ".join(deployment.models) or "none"
        problem = f"lists other models ({listed}) than the bundle and the settings have ({', '.join(models)})"
        root = str(repository / deployment.front_door / VERSION)
        raise BundleIntegrityError(DEPLOYMENT, problem, root=root, advice=_ADVICE)
    return manifest


def _check_model(repository: Path, model: str, deployment: Deployment) -> None:
    folder = repository / model
    if folder.is_symlink():
        raise BundleIntegrityError(model, "is a symbolic link", root=str(repository), advice=_ADVICE)
    if not folder.is_dir():
        raise BundleIntegrityError(model, "is missing", root=str(repository), advice=_ADVICE)
    files = _files_of(model, deployment)
    bytecode = _bytecode(folder) if f"{VERSION}/{MODEL_CODE}" in files else []
    besides = [name for name in bytecode if name not in files]
    if model == deployment.front_door:
        besides += [f"{VERSION}/{name}" for name in RECORDS]
    check_files(folder, files, besides=besides)


def _files_of(model: str, deployment: Deployment) -> dict[str, FileEntry]:
    prefix = f"{model}/"
    files = deployment.files.items()
    return {name.removeprefix(prefix): entry for name, entry in files if name.startswith(prefix)}


def _bytecode(folder: Path) -> list[str]:
    """Return what Python compiled beside `model.py`; starting a server removes it, since no digest of it is known."""
    stem = MODEL_CODE.removesuffix(".py")
    return [path.relative_to(folder).as_posix() for path in folder.glob(f"{VERSION}/__pycache__/{stem}.*.pyc")]


def _check_origin(repository: Path, deployment: Deployment, manifest: Manifest) -> None:
    """Check that the record lists what deploying its bundle with its settings writes: no file more, less or other."""
    source = _source(repository, deployment, manifest)
    expected = deployment_from_source(source)
    names = sorted({*expected.files, *deployment.files})
    other = [
        name
        for name in names
        if expected.files.get(name) != deployment.files.get(name) and not _says_the_same(repository, name, source)
    ]
    if other:
        of = "its settings" if other[0].endswith(f"/{CONFIG}") else f"bundle {deployment.bundle_id[:12]}"
        problem = f"is not the file of {of} that this onepath writes"
        raise BundleIntegrityError(other[0], problem, root=str(repository), advice=_ADVICE)
    if expected != deployment.model_copy(update={"files": expected.files}):
        root = str(repository / deployment.front_door)
        raise BundleIntegrityError(DEPLOYMENT, "is not the record of its files", root=root, advice=_ADVICE)


def _says_the_same(repository: Path, name: str, source: Source) -> bool:
    written = files_from_source(source).get(name)
    return (
        name.endswith(f"/{CONFIG}")
        and isinstance(written, bytes)
        and (repository / name).is_file()
        and same_config((repository / name).read_bytes(), written)
    )


def _source(repository: Path, deployment: Deployment, manifest: Manifest) -> Source:
    folder = repository / deployment.front_door / VERSION
    probes = deployment.files.get(f"{deployment.front_door}/{VERSION}/{PROBES}")
    if probes != manifest.files[manifest.probes]:
        problem = f"is not the file of bundle {deployment.bundle_id[:12]}"
        raise BundleIntegrityError(PROBES, problem, root=str(folder), advice=_ADVICE)
    try:
        read = probes_from_file(folder / PROBES)
    except ValidationError as error:
        problem = f"is not valid ({' '.join(str(error).split())[:200]})"
        raise BundleIntegrityError(PROBES, problem, root=str(folder), advice=_ADVICE) from error
    return Source(manifest, (folder / MANIFEST).read_bytes(), read, _settings(deployment), signature_bytes(folder))
