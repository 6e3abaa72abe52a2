"""`onepath sign`: a signature beside a bundle's manifest, and keys to sign with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from onepath.cli.tables import examples

EXAMPLES = examples(
    "onepath sign --new-key release.pem",
    "onepath sign build/digits --key release.pem",
    "onepath verify build/digits --require-signature release.pub.pem",
)
CONTEXT: dict[str, Any] = {}  # click's settings


def command(
    bundle: Annotated[str | None, typer.Argument(help="A bundle's folder, or the name of one in build/.")] = None,
    *,
    key: Annotated[Path | None, typer.Option(help="The private key to sign with: ed25519, in PEM.")] = None,
    new_key: Annotated[
        Path | None, typer.Option(help="Make a pair of keys: the private one here, the public one as *.pub.pem.")
    ] = None,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Ask for the passphrase that the private key is encrypted with.")
    ] = False,
) -> None:
    """Sign a bundle, or make a key to sign with.

    The signature goes beside the manifest, as manifest.sig, and covers every file by the manifest's digest. Whoever
    has the public key can then tell who vouches for the bundle. A bundle that is changed has to be signed again.
    """
    if (bundle is None) != (key is None) or (bundle is None) == (new_key is None):
        raise typer.BadParameter("give a bundle with --key to sign it, or --new-key alone to make a pair of keys")
    secret = _ask(twice=new_key is not None) if passphrase else None
    if new_key is not None:
        _make_key(new_key, secret)
    elif bundle is not None and key is not None:
        _sign(bundle, key, secret)


def _ask(*, twice: bool) -> bytes:
    answer: str = typer.prompt("passphrase", hide_input=True, confirmation_prompt=twice)
    return answer.encode()


def _make_key(path: Path, secret: bytes | None) -> None:
    from onepath.contract.keys import public_keys, write_new_key

    public_key = write_new_key(path, passphrase=secret)
    typer.echo(f"private key: {path}, for your eyes only")
    typer.echo(f"public key:  {public_key}, {public_keys(public_key)[0].id[:16]}, for everyone who deploys")
    typer.echo(f"next: onepath sign BUNDLE --key {path}")


def _sign(bundle: str, key: Path, secret: bytes | None) -> None:
    from onepath.cli.places import bundle_path
    from onepath.contract.signatures import sign_bundle

    path = bundle_path(bundle)
    signature = sign_bundle(path, key, passphrase=secret)
    typer.echo(f"signed {path} with the key {signature.key_id[:16]}")
    typer.echo(f"next: onepath verify {path} --require-signature PUBLIC_KEY")
