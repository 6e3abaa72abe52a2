"""`onepath verify`: every digest and proof of a bundle, or of the pipelines in a model repository."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onepath.cli.cells import print_if_any
from onepath.cli.tables import bundle_size, examples, print_chain, print_table, size_text, tolerance_text

if TYPE_CHECKING:
    from onepath.contract.bundle import Bundle
    from onepath.contract.manifest import FileEntry
    from onepath.scoring.checks import Check

EXAMPLES = examples(
    "onepath verify build/digits",
    "onepath verify build/digits --rerun --require-signature keys/release.pub.pem",
    "onepath verify model_repository",
)
CONTEXT: dict[str, Any] = {}  # click's settings


def command(
    place: Annotated[str, typer.Argument(help="A bundle's folder, the name of one in build/, or a model repository.")],
    *,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Measure the steps of a bundle again on its own probes, here and now.")
    ] = False,
    require_signature: Annotated[
        Path | None,
        typer.Option(help="A public key in PEM, or a folder of them: every bundle must be signed by one of these."),
    ] = None,
) -> None:
    """Check every digest and every proof.

    Of a bundle, or of the pipelines that were deployed to a model repository. Exits with 1 and the name of the first
    file that is missing, extra, changed or a link, or of the first proof that does not hold when it is measured again;
    that needs no training code, and the packages of onepath[serve].
    """
    from onepath.cli.places import bundle_path, is_bundle
    from onepath.server.verification import front_doors

    path = bundle_path(place)
    if not is_bundle(path) and front_doors(path):
        if rerun:
            raise typer.BadParameter("--rerun is for a bundle, and this is a model repository")
        _verify_repository(path, require_signature)
    else:
        _verify_bundle(path, rerun=rerun, keys=require_signature)


def _verify_bundle(path: Path, *, rerun: bool, keys: Path | None) -> None:
    from onepath.contract.bundle import open_bundle
    from onepath.contract.signatures import require_signature

    bundle = open_bundle(path)
    signer = None if keys is None else require_signature(bundle, keys)
    files = bundle.manifest.files
    rows = [(name, size_text(entry.size_bytes), entry.sha256[:16]) for name, entry in sorted(files.items())]
    print_table(f"{path}: every file is what the manifest says", ("file", "size", "SHA-256"), rows)
    print_chain(bundle.manifest)
    if rerun:
        _rerun(bundle)
    if signer is not None:
        typer.echo(f"signed by {signer.path}, the key {signer.id[:16]}")
    size = size_text(bundle_size(bundle.manifest))
    typer.echo(
        f"ok: {bundle.manifest.name} {bundle.id}, {len(files)} files, {size}, {len(bundle.manifest.proofs)} proofs"
    )


def _rerun(bundle: Bundle) -> None:
    from onepath.contract.errors import BundleIntegrityError
    from onepath.scoring.checks import first_broken
    from onepath.scoring.rerun import rerun
    from onepath.scoring.unmeasured import share_measured

    checks = rerun(bundle)
    made = [_check_row(check) for check in checks if check.verdict != "not measured"]
    headings = ("proof", "measured again", "by", "now", "recorded", "tolerance", "")
    probes = len(bundle.probes.rows)
    title = f"{bundle.manifest.name}: measured again on its {probes} golden probes and the other rows that it keeps"
    print_table(title, headings, made)
    others = [(check.subject, check.measured, check.note) for check in checks if check.verdict == "not measured"]
    print_if_any("Cannot be measured here", ("proof", "what", "why"), others)
    broken = first_broken(checks)
    if broken is not None:
        problem = f"does not hold when it is measured again: {broken.measured}, {broken.note}"
        advice = "do not use it: get the bundle from its source, or build it again"
        raise BundleIntegrityError(broken.subject, problem, root=str(bundle.path), advice=advice)
    again, every = share_measured(bundle.manifest, checks)
    further = sum(check.verdict == "ok" for check in checks) - again
    typer.echo(f"measured again: {again} of the proofs' {every} comparisons hold, and so do {further} further checks")


def _check_row(check: Check) -> tuple[str, ...]:
    figures = ["" if figure is None else f"{figure:.1e}" for figure in (check.error, check.recorded)]
    tolerance = "" if check.tolerance is None else tolerance_text(check.tolerance)
    return check.subject, check.measured, check.metric or "", *figures, tolerance, check.verdict


def _size(files: Iterable[FileEntry]) -> int:
    return sum(entry.size_bytes for entry in files)


def _verify_repository(path: Path, keys: Path | None) -> None:
    from onepath.contract.signatures import require_signature
    from onepath.server.names import VERSION
    from onepath.server.verification import verify_repository

    deployments = verify_repository(path)
    signers = [] if keys is None else [require_signature(path / d.front_door / VERSION, keys) for d in deployments]
    rows = [
        (d.front_door, d.bundle_id[:12], str(len(d.models) + 1), str(len(d.files)), size_text(_size(d.files.values())))
        for d in deployments
    ]
    print_table(f"{path}: every file is what was deployed", ("pipeline", "bundle", "models", "files", "size"), rows)
    for deployment, signer in zip(deployments, signers, strict=False):
        typer.echo(f"{deployment.front_door} is signed by {signer.path}, the key {signer.id[:16]}")
    typer.echo(f"ok: {len(deployments)} pipeline{'s' * (len(deployments) != 1)}")
