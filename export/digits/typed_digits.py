"""Typed digits: their names in twelve languages, with the slips that fingers make on a keyboard, as UTF-8 bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

NAMES: dict[str, tuple[str, ...]] = {
    "da": ("nul", "en", "to", "tre", "fire", "fem", "seks", "syv", "otte", "ni"),
    "de": ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
    "en": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "es": ("cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve"),
    "fi": ("nolla", "yksi", "kaksi", "kolme", "neljä", "viisi", "kuusi", "seitsemän", "kahdeksan", "yhdeksän"),
    "fr": ("zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf"),
    "it": ("zero", "uno", "due", "tre", "quattro", "cinque", "sei", "sette", "otto", "nove"),
    "nl": ("nul", "een", "twee", "drie", "vier", "vijf", "zes", "zeven", "acht", "negen"),
    "pl": ("zero", "jeden", "dwa", "trzy", "cztery", "pięć", "sześć", "siedem", "osiem", "dziewięć"),
    "pt": ("zero", "um", "dois", "três", "quatro", "cinco", "seis", "sete", "oito", "nove"),
    "sv": ("noll", "ett", "två", "tre", "fyra", "fem", "sex", "sju", "åtta", "nio"),
    "tr": ("sıfır", "bir", "iki", "üç", "dört", "beş", "altı", "yedi", "sekiz", "dokuz"),
}
"""Language to the names of 0 to 9."""

_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def alphabet() -> str:
    """Return every character that a typed name can hold, sorted."""
    return "".join(sorted({*"".join(_KEYS), *"".join("".join(names) for names in NAMES.values())}))


def names_of(digit: int) -> list[str]:
    """Return the digit's names, in the order of the languages; a name that languages share is there once for each."""
    return [names[digit] for names in NAMES.values()]


def typed_names(
    digits: Sequence[int], rng: np.random.Generator, *, slips: Sequence[int], avoid: frozenset[str] = frozenset()
) -> list[str]:
    """Return one typed name per digit.

    Args:
        digits: 0 to 9 each.
        rng: decides languages and slips.
        slips: how many slips a name has is drawn from these.
        avoid: strings that are drawn again, such as those that a model was trained on.
    """
    return [_typed_name(digit, rng, slips, avoid) for digit in digits]


def _typed_name(digit: int, rng: np.random.Generator, slips: Sequence[int], avoid: frozenset[str]) -> str:
    names = names_of(digit)
    while True:
        text = names[rng.integers(len(names))]
        for _ in range(slips[rng.integers(len(slips))]):
            text = _SLIPS[rng.integers(len(_SLIPS))](text, int(rng.integers(len(text))), rng)
        if text not in avoid:
            return text


def _neighbour(key: str, rng: np.random.Generator) -> str:
    """Return a key beside this one, or any letter for a character that has no key of its own."""
    for row in _KEYS:
        place = row.find(key)
        if place >= 0:
            beside = row[max(place - 1, 0) : place] + row[place + 1 : place + 2]
            return beside[rng.integers(len(beside))]
    letters = "".join(_KEYS)
    return letters[rng.integers(len(letters))]


def _wrong_key(text: str, place: int, rng: np.random.Generator) -> str:
    return text[:place] + _neighbour(text[place], rng) + text[place + 1 :]


def _two_keys(text: str, place: int, rng: np.random.Generator) -> str:
    return text[:place] + _neighbour(text[place], rng) + text[place:]


def _left_out(text: str, place: int, rng: np.random.Generator) -> str:
    return text[:place] + text[place + 1 :] if len(text) > 1 else text


def _swapped(text: str, place: int, rng: np.random.Generator) -> str:
    return text[:place] + text[place + 1 : place + 2] + text[place] + text[place + 2 :]


_SLIPS: tuple[Callable[[str, int, np.random.Generator], str], ...] = (_wrong_key, _two_keys, _left_out, _swapped)
