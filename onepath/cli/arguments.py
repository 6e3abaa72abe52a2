"""Values that arrive as text: `--<modality> VALUE` options of any name, and `NAME=VALUE` pairs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import typer

_LITERAL_KINDS = ("text", "tabular")


def modalities_from_arguments(arguments: Sequence[str], own: Collection[str] = ()) -> dict[str, str]:
    """Return modality to its text, from options of any name.

    >>> modalities_from_arguments(["--image", "seven.png", "--text=sieben"])
    {'image': 'seven.png', 'text': 'sieben'}

    Args:
        arguments: what the command line has besides the command's own options.
        own: the command's own options, for a hint where one is misspelt.

    Raises:
        BadParameter: an option without a value, one given twice, or a value without an option.
    """
    found: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("--") or argument == "--":
            raise typer.BadParameter(f"{argument!r} belongs to no option; write --<modality> {argument}")
        option, equals, value = argument.partition("=")
        if (meant := option.replace("_", "-")) in own:
            raise typer.BadParameter(f"there is no {option}; did you mean {meant}?")
        if not equals:
            following = next(rest, None)
            if following is None:
                raise typer.BadParameter(f"{option} needs a value: {option} VALUE")
            value = following
        if option[2:] in found:
            raise typer.BadParameter(f"{option} is given twice; one call is one row")
        found[option[2:]] = value
    return found


def value_from_text(text: str, kind: str) -> bytes | Path:
    """Return a modality's value as a client takes it: a path, or the bytes of text and tables.

    >>> value_from_text("seven.png", "image"), value_from_text("sieben", "text"), value_from_text("@@home", "text")
    (PosixPath('seven.png'), b'sieben', b'@home')
    >>> value_from_text("@letter.txt", "text")
    PosixPath('letter.txt')
    """
    if kind not in _LITERAL_KINDS:
        return Path(text)
    if text.startswith("@") and not text.startswith("@@"):
        return Path(text[1:])
    return text.removeprefix("@").encode(errors="surrogateescape")


def pairs_from_arguments(arguments: Iterable[str], option: str) -> dict[str, str]:
    """Return what `NAME=VALUE` arguments say.

    >>> pairs_from_arguments(["image=photo"], "--column")
    {'image': 'photo'}

    Raises:
        BadParameter: one has no `=` or an empty side, or a name is given twice.
    """
    pairs: dict[str, str] = {}
    for argument in arguments:
        name, _, value = argument.partition("=")
        if not name or not value:
            raise typer.BadParameter(f"{option} {argument} is not of the form NAME=VALUE, such as image=photo")
        if name in pairs:
            raise typer.BadParameter(f"{option} names {name} twice")
        pairs[name] = value
    return pairs
