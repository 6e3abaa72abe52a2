"""Typed number words of eight languages, with the slips that fingers make."""

from __future__ import annotations

import numpy as np

WORDS: dict[str, str] = {
    "Dutch": "nul een twee drie vier vijf zes zeven acht negen tien elf twaalf dertien veertien vijftien zestien",
    "English": "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen",
    "Finnish": "nolla yksi kaksi kolme neljä viisi kuusi seitsemän kahdeksan yhdeksän kymmenen yksitoista kaksitoista",
    "French": "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize",
    "German": "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn",
    "Italian": "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici quindici",
    "Polish": "zero jeden dwa trzy cztery pięć sześć siedem osiem dziewięć dziesięć jedenaście dwanaście trzynaście",
    "Spanish": "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis",
}
"""Language to its number words from zero on; the languages are in the order of the recipe's labels."""

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def typed_words(count: int, seed: int) -> tuple[list[str], list[int]]:
    """Return typed words and the index of the language of each: number words, seven of ten of them with one slip.

    A word that two languages share, such as `six`, is left out: it has no right answer.
    """
    rng = np.random.default_rng(seed)
    own = [_own_words(language) for language in WORDS]
    languages = rng.integers(len(own), size=count)
    return [_slipped(str(rng.choice(own[language])), rng) for language in languages], [int(i) for i in languages]


def _own_words(language: str) -> list[str]:
    others = {word for name, words in WORDS.items() if name != language for word in words.split()}
    return [word for word in WORDS[language].split() if word not in others]


def _slipped(word: str, rng: np.random.Generator) -> str:
    place = int(rng.integers(len(word)))
    letter = _LETTERS[int(rng.integers(len(_LETTERS)))]
    forms = (word[:place] + letter + word[place:], word[:place] + letter + word[place + 1 :])
    return forms[int(rng.integers(len(forms)))] if len(word) < 3 or rng.random() < 0.7 else word
