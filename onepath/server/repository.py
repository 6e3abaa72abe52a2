"""Deploying a bundle: its models are staged, verified, and published; the front door is switched last."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path, PurePosixPath

from onepath.contract.bundle import Bundle
from onepath.contract.deployment import Deployment
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.publication import locked, publish_folder, staging_folder, write_tree
from onepath.server.layout import deployment_from_source, files_from_source, record_files
from onepath.server.names import CONFIG, FRONT_DOOR_FILES, VERSION, is_inner_model
from onepath.server.settings import DeploySettings
from onepath.server.source import Source, source_from_bundle
from onepath.server.verification import verify_pipeline

logger = logging.getLogger(__name__)


def deploy(bundle: Bundle, repository: Path, settings: DeploySettings | None = None) -> Deployment:
    """Return the record of a bundle's pipeline, after writing it into a model repository.

    Deploying the same bundle with the same settings again changes nothing. Another bundle of the same name, or the same
    one with other settings, has models of other names: once all of them are there, the front door is replaced in one
    step, and only then are the old models removed.

    Args:
        bundle: an opened bundle.
        repository: the model repository; created if it is not there.
        settings: precision, instances, threads and batching; of what was not set, the bundle's own deployment settings
            count, and else what suits this machine.

    Raises:
        BundleIntegrityError: the folder cannot be made or holds something that is not a model, the front door's name is
            taken by a model that onepath did not deploy, or the bundle's files changed since it was opened.
        MissingVariantError: the bundle has no graph of the precision, or no engine where one is required.
        UnfitSettingsError: the graph cannot run on a CPU, or takes fewer rows than a preferred batch has.
    """
    source = source_from_bundle(bundle, settings)
    deployment = deployment_from_source(source)
    _make_repository(repository)
    with locked(repository):
        _check_repository(repository, deployment.front_door)
        if not _is_deployed(deployment, repository):
            with staging_folder(repository) as staging:
                write_tree(staging, {**_contents(source, bundle.path), **record_files(deployment)})
                verify_pipeline(staging, deployment.front_door)
                _publish(deployment, staging, repository)
            logger.info("deployed %s %s to %s", deployment.front_door, bundle.short_id, repository)
        _remove_old(deployment, repository)
    return deployment


def _make_repository(repository: Path) -> None:
    try:
        repository.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot be made a folder ({error.strerror})"
        raise BundleIntegrityError(str(repository), problem, advice="choose another --repository") from error


def _contents(source: Source, bundle: Path) -> dict[str, bytes | Path]:
    files = files_from_source(source).items()
    return {name: bundle / content if isinstance(content, PurePosixPath) else content for name, content in files}


def _is_deployed(deployment: Deployment, repository: Path) -> bool:
    """Return whether exactly this pipeline is there and intact; a damaged one is written again."""
    try:
        return verify_pipeline(repository, deployment.front_door) == deployment
    except BundleIntegrityError as error:
        logger.debug("%s is not there as it should be: %s", deployment.front_door, error)
        return False


def _publish(deployment: Deployment, staging: Path, repository: Path) -> None:
    for model in (*deployment.models, deployment.front_door):
        publish_folder(staging / model, repository / model)


def _remove_old(deployment: Deployment, repository: Path) -> None:
    for path in sorted(repository.iterdir()):
        if is_inner_model(path.name, deployment.front_door) and path.name not in deployment.models:
            logger.info("removing %s, which the new %s does not use", path.name, deployment.front_door)
            shutil.rmtree(path)


def _check_repository(repository: Path, front_door: str) -> None:
    for path in sorted(repository.iterdir()):
        hidden_or_note = path.name.startswith(".") or path.suffix == ".md"
        if not hidden_or_note and not (path / CONFIG).is_file() and not _is_ours(path, front_door):
            raise BundleIntegrityError(
                path.name,
                "is not a model, so the folder is not a model repository",
                root=str(repository),
                advice="give a new folder, or one that `onepath deploy` wrote",
            )
    target = repository / front_door
    if target.exists() and not _is_ours(target, front_door):
        raise BundleIntegrityError(
            front_door,
            "is a model that onepath did not deploy",
            root=str(repository),
            advice="deploy to another repository, or build the bundle under another name",
        )


def _is_ours(path: Path, front_door: str) -> bool:
    if is_inner_model(path.name, front_door):
        return True
    return path.name == front_door and any((path / VERSION / name).exists() for name in FRONT_DOOR_FILES)
