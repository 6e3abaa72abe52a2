"""What every decoder does around its work: find its library, check sizes, and give whatever goes wrong a type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from onepath.contract.errors import MissingExtraError, OnepathError
from onepath.modalities.data_errors import NotUtf8Error
from onepath.modalities.errors import CorruptError, EmptyPayloadError, TooLargeError
from onepath.modalities.media_errors import SideTooLongError, TooManyPixelsError, TooSmallError

_ADDRESS = re.compile(r"<[^<>]* at 0x[0-9a-f]+>")


def require_module(module: str, package: str, *, purpose: str) -> None:
    """Import a decoder's library, so that a missing one is found before the first row.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import_module(module)
    except ImportError as error:
        raise MissingExtraError(package, "serve", purpose=purpose) from error


def check_size(payload: bytes, max_bytes: int) -> None:
    """Check that a payload has at least one byte and at most the limit.

    Raises:
        EmptyPayloadError: it has none.
        TooLargeError: it has more than `max_bytes`.
    """
    if not payload:
        raise EmptyPayloadError
    if len(payload) > max_bytes:
        raise TooLargeError(len(payload), max_bytes)


def check_sides(width: int, height: int, *, max_pixels: int, max_side: int, min_side: int) -> None:
    """Check the size of a picture.

    Raises:
        TooSmallError: one of its sides is shorter than `min_side`.
        TooManyPixelsError: it has more than `max_pixels`.
        SideTooLongError: one of its sides is longer than `max_side`.
    """
    if min(width, height) < min_side:
        raise TooSmallError(width, height, min_side)
    if width * height > max_pixels:
        raise TooManyPixelsError(width, height, max_pixels)
    if max(width, height) > max_side:
        raise SideTooLongError(width, height, max_side)


def text_from_utf8(payload: bytes) -> str:
    """Return the text, without a byte order mark.

    Raises:
        NotUtf8Error: the bytes are not UTF-8; an encoded lone surrogate is not.
    """
    try:
        return payload.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotUtf8Error(error.start, error.reason) from error


@contextmanager
def corrupt_on_failure(what: str) -> Iterator[None]:
    """Turn whatever a decoding library raises into `CorruptError`; onepath's own errors pass.

    Libraries raise many types for bad bytes (OSError, SyntaxError, struct.error, MemoryError, warnings that are set to
    be errors, and panics of Rust code, which are not even an `Exception`), so that no list of them would be complete.

    Args:
        what: what is decoded, in words, such as `PNG image`.

    Raises:
        CorruptError: something was raised in the context.
    """
    try:
        yield
    except OnepathError:
        raise
    except Exception as error:
        raise CorruptError(what, _reason(error)) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise CorruptError(what, _reason(error)) from error


def _reason(error: BaseException) -> str:
    first_line = _ADDRESS.sub("the payload", str(error).partition("\n")[0])[:120]
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
