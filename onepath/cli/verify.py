"""`onepath verify`: every digest and proof of a bundle, or of the pipelines in a model repository."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onepath.cli.tables import bundle_size, examples, print_chain, print_table, size_text

if TYPE_CHECKING:
    from onepath.contract.manifest import FileEntry

EXAMPLES = examples("onepath verify build/digits", "onepath verify model_repository")
CONTEXT: dict[str, Any] = {}  # click's settings


def command(
    place: Annotated[str, typer.Argument(help="A bundle's folder, the name of one in build/, or a model repository.")],
) -> None:
    """Check every digest and every proof.

    Of a bundle, or of the pipelines that were deployed to a model repository. Exits with 1 and the name of the first
    file that is missing, extra, changed or a link.
    """
    from onepath.cli.places import bundle_path, is_bundle
    from onepath.server.verification import front_doors

    path = bundle_path(place)
    if not is_bundle(path) and front_doors(path):
        _verify_repository(path)
    else:
        _verify_bundle(path)


def _verify_bundle(path: Path) -> None:
    from onepath.contract.bundle import open_bundle

    bundle = open_bundle(path)
    files = bundle.manifest.files
    rows = [(name, size_text(entry.size_bytes), entry.sha256[:16]) for name, entry in sorted(files.items())]
    print_table(f"{path}: every file is what the manifest says", ("file", "size", "SHA-256"), rows)
    print_chain(bundle.manifest)
    size = size_text(bundle_size(bundle.manifest))
    typer.echo(
        f"ok: {bundle.manifest.name} {bundle.id}, {len(files)} files, {size}, {len(bundle.manifest.proofs)} proofs"
    )


def _size(files: Iterable[FileEntry]) -> int:
    return sum(entry.size_bytes for entry in files)


def _verify_repository(path: Path) -> None:
    from onepath.server.verification import verify_repository

    deployments = verify_repository(path)
    rows = [
        (d.front_door, d.bundle_id[:12], str(len(d.models) + 1), str(len(d.files)), size_text(_size(d.files.values())))
        for d in deployments
    ]
    print_table(f"{path}: every file is what was deployed", ("pipeline", "bundle", "models", "files", "size"), rows)
    typer.echo(f"ok: {len(deployments)} pipeline{'s' * (len(deployments) != 1)}")
