"""The ways in which a payload of any modality can fail, one class and one code each."""

from __future__ import annotations

from collections.abc import Sequence

from onepath.contract.errors import PayloadError

_SHOWN_CHARACTERS = 40


def shown(text: str) -> str:
    r"""Return text from a payload as it may stand in a message: quoted, ASCII and short.

    >>> shown("prix\ud800")
    "'prix\\ud800'"
    """
    return ascii(text[:_SHOWN_CHARACTERS] + ("…" if len(text) > _SHOWN_CHARACTERS else ""))


class EmptyPayloadError(PayloadError):
    """A payload with nothing in it to decode."""

    code = "empty"

    def __init__(self, what: str = "no bytes") -> None:
        super().__init__(f"the payload holds {what}; send content, or an empty element where the modality is absent")


class RequiredPayloadError(PayloadError):
    """A payload that is absent although the model requires it."""

    code = "required"

    def __init__(self) -> None:
        super().__init__("the payload is absent and the model requires it; send one with every row")


class TooLargeError(PayloadError):
    """A payload of more bytes than the limit."""

    code = "too_large"

    def __init__(self, size_bytes: int, limit: int) -> None:
        super().__init__(
            f"the payload has {size_bytes:,} bytes and limits.max_bytes is {limit:,}; send a smaller one",
            size_bytes=size_bytes,
            limit=limit,
        )


class UnsupportedFormatError(PayloadError):
    """A payload that is not of a format that the modality reads."""

    code = "unsupported_format"

    def __init__(self, what: str, start: bytes, known: Sequence[str]) -> None:
        super().__init__(
            f"the payload starts with {start[:8].hex(' ') or 'nothing'}, which is no {what} that is read here; "
            f"send {', '.join(known)}",
            known=tuple(known),
        )


class CorruptError(PayloadError):
    """A payload of a supported format whose content cannot be decoded."""

    code = "corrupt"
    reason: str

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(
            f"the {what} cannot be decoded ({reason}); check that it was sent whole, or encode it again", reason=reason
        )


class TruncatedError(PayloadError):
    """A payload that ends before its content does."""

    code = "truncated"

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"the {what} is cut off ({reason}); send the whole file", reason=reason)


class NotFiniteError(PayloadError):
    """A number that is NaN or infinite."""

    code = "not_finite"

    def __init__(self, where: str, advice: str = "send finite numbers") -> None:
        super().__init__(f"{where} is NaN or infinite; {advice}", where=where)


class OutOfRangeError(PayloadError):
    """A finite number that is too large to be meant, or to be held by the model's type."""

    code = "out_of_range"

    def __init__(self, where: str, value: float, advice: str) -> None:
        super().__init__(f"{where} is {value:.6g}, which is out of range; {advice}", where=where, value=value)


class WrongTypeError(PayloadError):
    """A value of another type than the modality reads, such as a cell that is no number."""

    code = "wrong_type"

    def __init__(self, where: str, found: str, wanted: str) -> None:
        super().__init__(f"{where} is {found}; send {wanted}", where=where, found=found)


class DecoderFailedError(PayloadError):
    """A plug-in that broke its contract: it raised something else, or made another array than it declared."""

    code = "decoder_failed"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the decoder failed ({reason}); this is a fault of the plug-in, report it to its author")
