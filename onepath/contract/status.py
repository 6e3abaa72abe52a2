"""What is said of one payload of one row: nothing, or a code for programs and a message for people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from onepath.contract.errors import PayloadError


@dataclass(frozen=True)
class Status:
    """The reason why a payload was not used.

    Attributes:
        code: machine-readable, such as `corrupt` or `too_many_pixels`.
        message: one sentence for a person.
    """

    code: str
    message: str

    @classmethod
    def from_error(cls, error: PayloadError) -> Status:
        """Return the status that reports a payload error."""
        return cls(code=error.code, message=str(error))


def bytes_from_status(status: Status | None) -> bytes:
    """Return the wire form: empty for a payload that was used or never sent, else a JSON object.

    >>> bytes_from_status(Status("corrupt", "not an image"))
    b'{"code":"corrupt","message":"not an image"}'
    """
    if status is None:
        return b""
    return json.dumps(asdict(status), ensure_ascii=False, separators=(",", ":")).encode()


def status_from_bytes(data: bytes) -> Status | None:
    """Return the status that the wire form holds, or None for an empty element."""
    return Status(**json.loads(data)) if data else None
