"""SHA-256 of files, and the canonical JSON that digests are taken of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20


def sha256_from_bytes(data: bytes) -> str:
    """Return the SHA-256 of bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def joined_digest(digests: Iterable[str]) -> str:
    """Return the digest of several things in their order; that of a single one is its own.

    >>> joined_digest(["ab" * 32]) == "ab" * 32, joined_digest(["ab" * 32, "cd" * 32])[:8]
    (True, 'dcd7d37b')
    """
    parts = list(digests)
    return parts[0] if len(parts) == 1 else sha256_from_bytes("".join(parts).encode())


def sha256_from_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def canonical_json(value: Any) -> bytes:  # value: anything that JSON can hold
    r"""Return JSON with sorted keys and an indent of two, so that equal values have equal bytes.

    >>> canonical_json({"b": 1, "a": "é"})
    b'{\n  "a": "\xc3\xa9",\n  "b": 1\n}\n'
    """
    return (json.dumps(value, sort_keys=True, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()
