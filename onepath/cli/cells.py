"""What the cells of tables hold: settings and figures in one line, long text in several, in columns that fit."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from onepath.cli.tables import print_table

_COLUMNS = 30
LINE = 100
"""Columns that a table may take: those of a terminal that shows code."""

_BREAKS = re.compile(r"(?<=[ +/])|(?<=[A-Za-z]\.)|(?<=\.)(?=[A-Za-z])")
"""Where a line may end: at a space, between the parts of a pattern or of a path; not within a number."""


def wrapped(text: str, columns: int = _COLUMNS) -> str:
    """Return text with a line break where a line would be longer than some columns.

    >>> wrapped("fit=stretch, height=40", 12).splitlines()
    ['fit=stretch,', 'height=40']
    """
    return textwrap.fill(text, columns, break_on_hyphens=False)


def wrapped_pattern(name: str, columns: int = 20) -> str:
    """Return the name of a presence pattern, with a line break behind a `+` where it would be longer than some columns.

    >>> wrapped_pattern("picture+word+cells", 12).splitlines()
    ['picture+', 'word+cells']
    """
    return wrapped(name.replace("+", "+ "), columns + 1).replace("+ ", "+")


def settings_text(settings: Mapping[str, Any]) -> str:  # JSON
    """Return settings in one line, without quotes and without those that say nothing.

    >>> settings_text({"height": 40, "layers": ["first", "second"], "scales": {"first": 0.25}, "base": None})
    'height=40, layers=first+second, scales=(first=0.25)'
    """
    said = {name: value for name, value in settings.items() if value is not None and value not in ({}, [])}
    return ", ".join(f"{name}={value_text(value)}" for name, value in said.items())


def value_text(value: Any) -> str:  # JSON
    """Return a value in one line, numbers with six digits.

    >>> value_text({"audio": 0.123456789, "text": [1, 2]}), value_text(True), value_text("7")
    ('(audio=0.123457, text=1+2)', 'true', '7')
    """
    if isinstance(value, Mapping):
        return f"({settings_text(value)})" if value else ""
    if isinstance(value, list | tuple):
        return "+".join(value_text(each) for each in value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def figure_text(value: Any, form: str) -> str:  # a number, or the word that JSON has for an infinite one
    """Return a figure in a format; nothing for None.

    >>> figure_text(0.00123, ".2g"), figure_text("inf", ".2g"), figure_text(None, ".2g")
    ('0.0012', 'inf', '')
    """
    return "" if value is None else format(float(value), form)


def names_text(names: Sequence[str]) -> str:
    """Return dotted names in one line, those that differ in their last part alone written as one.

    >>> names_text(["image.layers.0", "image.layers.1", "audio.layers.0"])
    'image.layers.0 and .1, audio.layers.0'
    """
    groups = dict[str, list[str]]()
    for name in names:
        head, _, last = name.rpartition(".")
        groups.setdefault(head, []).append(last)
    return ", ".join(_siblings(head, lasts) for head, lasts in groups.items())


def _siblings(head: str, lasts: Sequence[str]) -> str:
    return f"{head}." + " and .".join(lasts) if head else ", ".join(lasts)


def fitted(
    headings: Sequence[str], rows: Sequence[Sequence[str]], columns: int = LINE
) -> tuple[list[str], list[list[str]]]:
    """Return the headings and cells of a table with line breaks, so that no line of it is too long.

    The widest columns give way first, whatever is in them.

    Args:
        headings: one a column.
        rows: the cells.
        columns: of the longest line, with the space between cells.
    """
    widths = [
        max(len(line) for cell in column for line in cell.split("\n")) for column in zip(headings, *rows, strict=True)
    ]
    room = columns - 3 * len(widths)
    while sum(widths) > room:
        widths[widths.index(max(widths))] -= 1
    return _in_widths(headings, widths), [_in_widths(row, widths) for row in rows]


def _in_widths(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        "\n".join(part for line in cell.split("\n") for part in _broken(line, width))
        for cell, width in zip(cells, widths, strict=True)
    ]


def _broken(line: str, columns: int) -> list[str]:
    """Return a line as several, none of them too long, broken where words or the parts of a path end."""
    lines, here = list[str](), ""
    for piece in _BREAKS.split(line):
        if here and len((here + piece).rstrip()) > columns:
            lines.append(here.rstrip())
            here = ""
        here += piece
        while len(here.rstrip()) > columns:
            lines.append(here[:columns])
            here = here[columns:]
    return [*lines, here.rstrip()]


def print_if_any(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table that has rows, in lines that fit."""
    if rows:
        print_table("\n".join(_broken(title, LINE)), *fitted(headings, rows))
