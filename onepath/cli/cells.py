"""What the cells of tables hold: settings and figures in one line, long text in several."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from onepath.cli.tables import print_table

_COLUMNS = 30


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


def print_if_any(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table that has rows."""
    if rows:
        print_table(title, headings, rows)
