"""What a person means by a name or a path: a bundle, a model repository, or a pipeline in one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onepath.contract.bundle import MANIFEST, open_bundle
from onepath.contract.errors import OnepathError

if TYPE_CHECKING:
    from onepath.scoring import Pipeline

BUILD = Path("build")
REPOSITORY = Path("model_repository")
_PROJECT = Path(__file__).resolve().parents[2]


class NotFoundError(OnepathError):
    """A name or path that leads to no bundle and no model repository; `looked_at` lists where it was looked for."""


def is_bundle(path: Path) -> bool:
    """Return whether a folder claims to be a bundle."""
    return (path / MANIFEST).is_file()


def bundle_path(given: str) -> Path:
    """Return the folder of the bundle that a path, or a name in `build/`, means.

    Raises:
        NotFoundError: there is no folder of either.
    """
    candidates = [Path(given), BUILD / given]
    for path in candidates:
        if path.is_dir():
            return path
    raise _not_found(f"there is no bundle {given}", candidates)


def repository_path(given: Path | None = None) -> Path:
    """Return a model repository: the given one, else `model_repository/` here or beside the package.

    Raises:
        NotFoundError: there is none.
    """
    candidates = [given] if given else [REPOSITORY, _PROJECT / REPOSITORY]
    for path in candidates:
        if path.is_dir():
            return path
    raise _not_found("there is no model repository", candidates)


def pipeline_from_name(given: str, repository: Path | None = None) -> Pipeline:
    """Return a pipeline to score with, verified: a bundle's path, a name in `build/`, or a name in a repository.

    Args:
        given: a path or a name.
        repository: the only place to look for the name in, if given.

    Raises:
        NotFoundError: there is no such bundle and no such pipeline.
        BundleIntegrityError: a file of it is not what its manifest says.
    """
    from onepath.scoring import pipeline_from_bundle
    from onepath.server.verification import front_doors

    bundles = [] if repository else [Path(given), BUILD / given]
    for path in bundles:
        if is_bundle(path):
            return pipeline_from_bundle(open_bundle(path))
    repositories = [repository] if repository else [REPOSITORY, _PROJECT / REPOSITORY]
    for path in repositories:
        if path.is_dir() and given in front_doors(path):
            return pipeline_from_repository(path, given)
    raise _not_found(f"there is no bundle and no deployed pipeline {given}", [*bundles, *repositories])


def pipeline_from_repository(repository: Path, name: str) -> Pipeline:
    """Return a deployed pipeline's parts, after checking every one of its files.

    Raises:
        BundleIntegrityError: naming the file that is wrong.
        NotFoundError: it was deployed as an engine, and there is no graph to score with.
    """
    from onepath.scoring import Pipeline
    from onepath.server.names import MODEL_GRAPH, VERSION
    from onepath.server.verification import manifest_of_pipeline, verify_pipeline

    deployment = verify_pipeline(repository, name)
    manifest = manifest_of_pipeline(repository, deployment)
    if manifest.engines:
        raise NotFoundError(
            f"{name} in {repository} is a TensorRT engine, which is not scored offline; score its bundle, or deploy it "
            "with --engine never",
            looked_at=(str(repository),),
        )
    *models, graph_model = deployment.models
    assets = {m: repository / model / VERSION for m, model in zip(manifest.modality_names, models, strict=True)}
    graph = repository / graph_model / VERSION / MODEL_GRAPH
    return Pipeline(id=deployment.bundle_id, manifest=manifest, graph_path=graph, assets=assets)


def _not_found(problem: str, candidates: list[Path]) -> NotFoundError:
    looked_at = ", ".join(str(path) for path in dict.fromkeys(candidates))
    return NotFoundError(
        f"{problem} (looked at {looked_at}); give its path, or make one with `onepath build` and `onepath deploy`",
        looked_at=tuple(str(path) for path in candidates),
    )
