"""Text to token ids: the two ways to tokenise, behind one interface."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from onepath.modalities.decoding import corrupt_on_failure, require_module
from onepath.modalities.errors import CorruptError
from onepath.modalities.setup_errors import SettingsError

PAD_ID = 0
"""The id of padding, unless a tokenizers file says otherwise."""
UNKNOWN_ID = 1
"""The id of a character that the alphabet does not have."""
FIRST_ID = 2
"""The id of the alphabet's first character."""

Form = Literal["NFC", "NFKC", "none"]


class Tokenizer(Protocol):
    """Encodes text to a fixed number of ids."""

    vocabulary_size: int

    def encode(self, text: str) -> NDArray[np.int32]:
        """Return int32 `(length,)`."""


def normalised(text: str, form: Form, *, lower: bool) -> str:
    """Return text in a Unicode normal form and, if asked for, in lower case.

    >>> normalised("Ｅ́T", "NFKC", lower=True)
    'ét'
    """
    text = text if form == "none" else unicodedata.normalize(form, text)
    text = text.lower() if lower else text
    # Lower-casing can leave the form again: "İ" becomes two characters.
    return text if form == "none" else unicodedata.normalize(form, text)


class CharacterTokenizer:
    """One id per character of an alphabet."""

    def __init__(self, alphabet: str, length: int, *, form: Form, lower: bool) -> None:
        self._ids = {character: FIRST_ID + index for index, character in enumerate(alphabet)}
        self._length = length
        self._form: Form = form
        self._lower = lower
        self.vocabulary_size = FIRST_ID + len(alphabet)

    def encode(self, text: str) -> NDArray[np.int32]:
        """Return int32 `(length,)`: unknown characters are `UNKNOWN_ID`, the rest of a short row is `PAD_ID`."""
        characters = normalised(text, self._form, lower=self._lower)[: self._length]
        return _padded([self._ids.get(character, UNKNOWN_ID) for character in characters], self._length, PAD_ID)


class FileTokenizer:
    """The tokens of a tokenizers JSON file.

    Args:
        assets: the folder that the file is in.
        file: its path there.
        length: tokens of a row, special tokens included.

    Raises:
        SettingsError: the file is missing, outside the assets, not valid, or needs a longer `length`.
        MissingExtraError: `tokenizers` is not installed.
    """

    def __init__(self, assets: Path, file: str, length: int) -> None:
        require_module("tokenizers", "tokenizers", purpose=f"the tokenizers file {file}")
        self._tokenizer = _tokenizer_from_file(assets, file)
        self._pad_id: int = (self._tokenizer.padding or {}).get("pad_id", PAD_ID)
        self._length = length
        self._fix_length(file)
        self.vocabulary_size = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=PAD_ID)

    def encode(self, text: str) -> NDArray[np.int32]:
        """Return int32 `(length,)`.

        Raises:
            CorruptError: the tokenizer refuses the text.
        """
        with corrupt_on_failure("text"):
            return _padded(self._tokenizer.encode(text).ids, self._length, self._pad_id)

    def _fix_length(self, file: str) -> None:
        special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        if special >= self._length:
            problem = f"{file} adds {special} special tokens, which leaves no room in length {self._length}"
            raise SettingsError("text", "text", [("settings.length", problem)])
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length=self._length)


def _tokenizer_from_file(assets: Path, file: str) -> Any:  # tokenizers has no types
    import tokenizers

    parts = PurePosixPath(file)
    if parts.is_absolute() or ".." in parts.parts:
        raise _file_error(f"{file} points outside the assets; name a file in them")
    try:
        content = (assets / file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _file_error(f"{file} cannot be read in {assets} ({error})") from error
    try:
        with corrupt_on_failure("tokenizers file"):
            return tokenizers.Tokenizer.from_str(content)
    except CorruptError as error:
        raise _file_error(f"{file} is not a tokenizers JSON file ({error.reason})") from error


def _file_error(problem: str) -> SettingsError:
    return SettingsError("text", "text", [("settings.file", problem)])


def _padded(ids: list[int], length: int, pad_id: int) -> NDArray[np.int32]:
    row = np.full(length, pad_id, dtype=np.int32)
    row[: len(ids)] = ids
    return row
