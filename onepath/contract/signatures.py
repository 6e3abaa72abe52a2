"""Signatures of bundles: ed25519, over the digest of the manifest, which holds the digests of everything else."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from onepath.contract.bundle import MANIFEST, SIGNATURE, Bundle, open_bundle
from onepath.contract.digests import canonical_json, sha256_from_file
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.keys import PublicKey, is_signed_by, public_keys, signed_by
from onepath.contract.publication import flush, locked, staging_folder
from onepath.contract.strict_json import json_from_bytes
from onepath.contract.tensors import Closed

ALGORITHM = "ed25519"

_DOMAIN = b"onepath bundle signature, version 1\n"
"""What every signed message begins with, so that a signature of something else never is one of a bundle."""
_MOST_BYTES = 10_000


class Signature(Closed):
    """What `manifest.sig` holds.

    Attributes:
        version: of this format.
        algorithm: of the signature.
        key_id: the SHA-256 of the public key's 32 bytes.
        signature: 64 bytes in base64.
    """

    version: Literal[1] = 1
    algorithm: str
    key_id: str = Field(pattern="^[0-9a-f]{64}$")
    signature: str


def sign_bundle(path: Path, private_key: Path, *, passphrase: bytes | None = None) -> Signature:
    """Return the signature that was written beside a bundle's manifest, in the place of one that was there.

    Args:
        path: the bundle's folder; it is opened, so that nothing broken is signed.
        private_key: a file in PEM, as `openssl genpkey -algorithm ed25519` writes it.
        passphrase: of that file, where it has one.

    Raises:
        BundleIntegrityError: the bundle is not intact.
        KeyFileError: the key cannot be read or is of another kind.
        MissingExtraError: cryptography is not installed.
    """
    folder = path.resolve()
    with locked(folder.parent), staging_folder(folder.parent) as staging:
        bundle = open_bundle(folder)
        key_id, signed = signed_by(private_key, _message(bundle.id), passphrase=passphrase)
        signature = Signature(algorithm=ALGORITHM, key_id=key_id, signature=base64.b64encode(signed).decode())
        staged = staging / SIGNATURE
        staged.write_bytes(canonical_json(signature.model_dump(mode="json")))
        flush(staged)
        staged.replace(folder / SIGNATURE)
    return signature


def require_signature(bundle: Bundle | Path, keys: Path | Iterable[PublicKey]) -> PublicKey:
    """Return the key that a bundle is signed by, after checking its signature over the manifest as it is on the disk.

    Args:
        bundle: an opened bundle, or a folder with a manifest and its signature, such as that of a deployed front door.
        keys: those that are trusted: a file in PEM, a folder of them, or what `public_keys` returned.

    Raises:
        BundleIntegrityError: it is not signed, by none of the keys, by another algorithm, or the manifest was changed.
        KeyFileError: a key cannot be read.
        MissingExtraError: cryptography is not installed.
    """
    trusted = public_keys(keys) if isinstance(keys, Path) else list(keys)
    folder = bundle.path if isinstance(bundle, Bundle) else bundle
    signature = read_signature(folder)
    if signature is None:
        raise _refused(folder, "is missing: the bundle is not signed", "sign it with: onepath sign BUNDLE --key KEY")
    digest = sha256_from_file(folder / MANIFEST)
    if isinstance(bundle, Bundle) and digest != bundle.id:
        raise BundleIntegrityError(MANIFEST, "was changed since the bundle was opened", root=str(folder))
    signer = next((key for key in trusted if key.id == signature.key_id), None)
    if signer is None:
        known = ", ".join(f"{key.path} is {key.id[:12]}" for key in trusted)
        problem = f"is by the key {signature.key_id[:12]}, which is none of those given ({known})"
        raise _refused(folder, problem, "ask who signed it, and give the public key if you trust them")
    if not is_signed_by(signer, base64.b64decode(signature.signature), _message(digest)):
        raise _refused(folder, f"is not one of this manifest by {signer.path}", "get the bundle from its source again")
    return signer


def signature_bytes(folder: Path) -> bytes | None:
    """Return the file of the signature beside a manifest, not checked against any key; None where there is none.

    Raises:
        BundleIntegrityError: as `read_signature`.
    """
    return None if read_signature(folder) is None else (folder / SIGNATURE).read_bytes()


def read_signature(folder: Path) -> Signature | None:
    """Return the signature beside a manifest, not checked against any key; None where there is none.

    Raises:
        BundleIntegrityError: it is not of the form of one, or of an algorithm other than ed25519.
    """
    path = folder / SIGNATURE
    if not path.exists() and not path.is_symlink():
        return None
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _MOST_BYTES:
        raise _refused(folder, "is not a signature", "sign the bundle again")
    try:
        signature = Signature.model_validate_json(canonical_json(json_from_bytes(path.read_bytes())))
        if base64.b64encode(base64.b64decode(signature.signature, validate=True)).decode() != signature.signature:
            raise ValueError("its base64 can be written in another way")
    except (ValueError, ValidationError) as error:
        problem = f"is not a signature ({' '.join(str(error).split())[:200]})"
        raise _refused(folder, problem, "sign the bundle again") from error
    if signature.algorithm != ALGORITHM:
        raise _refused(folder, f"is of {signature.algorithm!r} and not of {ALGORITHM}", "sign the bundle again")
    return signature


def _message(digest: str) -> bytes:
    return _DOMAIN + digest.encode() + b"\n"


def _refused(folder: Path, problem: str, advice: str) -> BundleIntegrityError:
    return BundleIntegrityError(SIGNATURE, problem, root=str(folder), advice=advice)
