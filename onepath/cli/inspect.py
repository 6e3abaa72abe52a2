"""`onepath inspect`: everything that a bundle says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onepath.cli.tables import examples, print_chain

if TYPE_CHECKING:
    from onepath.contract.bundle import Bundle

EXAMPLES = examples(
    "onepath inspect build/digits",
    "onepath inspect build/digits --require-signature keys/release.pub.pem",
    "onepath inspect digits --json",
)
CONTEXT: dict[str, Any] = {}  # click's settings


def command(
    bundle: Annotated[str, typer.Argument(help="A bundle's folder, or the name of one in build/.")],
    *,
    require_signature: Annotated[
        Path | None, typer.Option(help="A public key in PEM, or a folder of them: the bundle must be signed by one.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the manifest, the reports and all else as one JSON object.")
    ] = False,
) -> None:
    """Show what a bundle is, takes and gives, and how it was made.

    Its graphs, modalities and files, the chain of its proofs, who merged what with which scales, what the collapse
    folded and what came of each pass over the graph, what a look over merged weights found, and the reports on missing
    modalities, precisions and tuning, as far as it has them.
    """
    from onepath.cli.places import bundle_path
    from onepath.contract.bundle import open_bundle
    from onepath.contract.signatures import require_signature as check_signature

    opened = open_bundle(bundle_path(bundle))
    signer = None if require_signature is None else check_signature(opened, require_signature)
    if as_json:
        typer.echo(json.dumps(_as_json(opened, checked=signer is not None), ensure_ascii=False))
    else:
        _print(opened, None if signer is None else str(signer.path))


def _as_json(bundle: Bundle, *, checked: bool) -> dict[str, Any]:  # JSON
    """Return the manifest with what the other files say, all at the top of one object."""
    from onepath.cli.report_tables import reports_of
    from onepath.contract.signatures import read_signature

    signature = read_signature(bundle.path)
    return (
        {"id": bundle.id}
        | bundle.manifest.model_dump(mode="json")
        | {
            "signature": None if signature is None else signature.model_dump(mode="json") | {"checked": checked},
            "stages": {name: list(array.shape) for name, array in _answers(bundle).items()},
            "reports": reports_of(bundle),
        }
    )


def _answers(bundle: Bundle) -> dict[str, Any]:  # arrays
    from onepath.contract.answers import answers_from_bundle

    return dict(answers_from_bundle(bundle.manifest, bundle.path, probes=len(bundle.probes.rows)))


def _print(bundle: Bundle, signer: str | None) -> None:
    from onepath.cli.bundle_tables import (
        print_engines,
        print_facts,
        print_files,
        print_graphs,
        print_measurements,
        print_modalities,
        print_origins,
        print_stages,
    )
    from onepath.cli.report_tables import print_reports

    print_facts(bundle, signer)
    print_graphs(bundle.manifest)
    print_engines(bundle.manifest)
    print_modalities(bundle.manifest)
    print_origins(bundle.manifest.details)
    print_chain(bundle.manifest)
    print_measurements(bundle.manifest)
    print_stages(_answers(bundle), len(bundle.probes.rows))
    print_reports(bundle)
    print_files(bundle.manifest)
