"""What a misspelt name may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question in brackets that names the known name nearest to another one; nothing where none is near.

    >>> did_you_mean("harmonik", ["harmonic", "mean"])
    " (did you mean 'harmonic'?)"
    >>> did_you_mean("sum", ["harmonic", "mean"])
    ''
    """
    nearest = get_close_matches(name, list(known), n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""
