"""Keys that bundles are signed with: ed25519, in PEM files, as `onepath sign --new-key` and openssl write them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onepath.contract.digests import sha256_from_bytes
from onepath.contract.errors import MissingExtraError, OnepathError

_MOST_BYTES = 10_000


class KeyFileError(OnepathError):
    """A file of a key that cannot be read, written or used; `path` names it."""

    path: str

    def __init__(self, path: Path, problem: str, *, advice: str) -> None:
        super().__init__(f"cannot use the key {path}: {problem}; {advice}", path=str(path), problem=problem)


@dataclass(frozen=True)
class PublicKey:
    """A key that a signature may be by.

    Attributes:
        path: its file.
        id: the SHA-256 of its 32 bytes.
        key: an `Ed25519PublicKey`.
    """

    path: Path
    id: str
    key: Any  # cryptography is imported where a key is used


def public_keys(path: Path) -> list[PublicKey]:
    """Return the public key of a file in PEM, or those of every `*.pem` file of a folder but private keys' ones.

    Raises:
        KeyFileError: there is none, or one of them is no ed25519 public key.
        MissingExtraError: cryptography is not installed.
    """
    paths = [each for each in sorted(path.glob("*.pem")) if not _is_private(each)] if path.is_dir() else [path]
    if not paths:
        raise KeyFileError(path, "the folder holds no *.pem file of a public key", advice="give the file of one")
    return [_public_key(each) for each in paths]


def write_new_key(private_key: Path, *, passphrase: bytes | None = None) -> Path:
    """Return the file of the public key of a new pair; the private one is written for its owner's eyes only.

    Args:
        private_key: the file to write, `*.pem`; the public one is written beside it as `*.pub.pem`.
        passphrase: what the private key is encrypted with, if anything.

    Raises:
        KeyFileError: one of the files is there already, or cannot be written.
        MissingExtraError: cryptography is not installed.
    """
    serialization, ed25519 = _cryptography()
    public_key = private_key.with_suffix(".pub.pem")
    for path in (private_key, public_key):
        if path.exists() or path.is_symlink():
            raise KeyFileError(path, "it is there already", advice="choose another name; a lost key cannot be replaced")
    key = ed25519.Ed25519PrivateKey.generate()
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    _write_new(private_key, key.private_bytes(pem, pkcs8, encryption), mode=0o600)
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    _write_new(public_key, public, mode=0o644)
    return public_key


def signed_by(private_key: Path, message: bytes, *, passphrase: bytes | None = None) -> tuple[str, bytes]:
    """Return the id of a private key's public one, and the key's signature of a message, 64 bytes.

    Raises:
        KeyFileError: the key cannot be read or is of another kind.
        MissingExtraError: cryptography is not installed.
    """
    serialization, ed25519 = _cryptography()
    key = _loaded(private_key, lambda pem: serialization.load_pem_private_key(pem, passphrase))
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise KeyFileError(private_key, "it is no ed25519 key", advice="make one with: onepath sign --new-key KEY")
    return _id(key.public_key()), key.sign(message)


def is_signed_by(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Return whether a signature is a key's, of this very message."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _is_private(path: Path) -> bool:
    """Return whether a file says that it is a private key, which may lie beside its public one."""
    with suppress(OSError), path.open("rb") as file:
        return b"PRIVATE KEY-----" in file.read(_MOST_BYTES)
    return False


def _public_key(path: Path) -> PublicKey:
    serialization, ed25519 = _cryptography()
    key = _loaded(path, serialization.load_pem_public_key)
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise KeyFileError(path, "it is no ed25519 public key", advice="give that of the signer's pair")
    return PublicKey(path=path, id=_id(key), key=key)


def _loaded(path: Path, load: Callable[[bytes], Any]) -> Any:  # a key of any kind
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise KeyFileError(path, f"it has more than {_MOST_BYTES} bytes", advice="give a PEM file")
        return load(path.read_bytes())
    except OSError as error:
        raise KeyFileError(path, f"it cannot be read ({error.strerror})", advice="give a PEM file") from error
    except TypeError as error:  # what cryptography raises for a passphrase too few or too many
        raise KeyFileError(path, f"{error}", advice="give its passphrase, or none where it has none") from error
    except (ValueError, _unsupported()) as error:
        advice = "give the public key to check a signature, and the private one to sign, each as a PEM file"
        raise KeyFileError(path, " ".join(str(error).split())[:200] or "it is no PEM", advice=advice) from error


def _write_new(path: Path, data: bytes, *, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask leaves of it
            file.write(data)
    except OSError as error:
        raise KeyFileError(path, f"it cannot be written ({error.strerror})", advice="choose another place") from error


def _id(public_key: Any) -> str:  # an Ed25519PublicKey
    serialization, _ = _cryptography()
    return sha256_from_bytes(public_key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))


def _cryptography() -> tuple[Any, Any]:  # two modules without types
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingExtraError("cryptography", "sign", purpose="signing, and checking who signed") from error
    return serialization, ed25519


def _unsupported() -> type[Exception]:
    from cryptography.exceptions import UnsupportedAlgorithm

    unsupported: type[Exception] = UnsupportedAlgorithm
    return unsupported
