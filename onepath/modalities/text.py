"""Text: UTF-8 to token ids of a fixed length, by characters of an alphabet or by a tokenizers file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, RootModel, model_validator

from onepath.contract.dtypes import DType
from onepath.contract.tensors import Closed
from onepath.modalities.data_errors import NulCharacterError, TooManyCharactersError
from onepath.modalities.decoding import check_size, text_from_utf8
from onepath.modalities.errors import EmptyPayloadError
from onepath.modalities.tokens import CharacterTokenizer, FileTokenizer, Tokenizer, normalised

LATIN = (
    " '-.,?!0123456789abcdefghijklmnopqrstuvwxyz"
    "ßàáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿ"
    "āăąćċčďđēėęěğġģħīįıķĺļľłńņňőœŕřśşšţťūůűųŵŷźżžșț"
)
"""The default alphabet: lower-case letters of the European languages in Latin script, digits and basic punctuation.

Bundles count on the order, so it never changes."""


class CharacterSettings(Closed):
    """One token per character; ids are 0 for padding, 1 for unknown, then the alphabet in its order from 2.

    Attributes:
        length: tokens of a row; longer text loses its end, shorter text is padded at its end.
        alphabet: the known characters.
        form: the Unicode normal form that text is brought to.
        lower: whether text is lower-cased.
    """

    tokenizer: Literal["characters"]
    length: int = Field(ge=1, le=1 << 20)
    alphabet: str = Field(default=LATIN, min_length=1)
    form: Literal["NFC", "NFKC", "none"] = "NFC"
    lower: bool = True

    @model_validator(mode="after")
    def _every_character_can_occur(self) -> CharacterSettings:
        if len(set(self.alphabet)) < len(self.alphabet):
            raise ValueError("alphabet has a character twice")
        for character in self.alphabet:
            if normalised(character, self.form, lower=self.lower) != character:
                raise ValueError(f"alphabet has {character!r}, which form and lower turn into something else")
        return self


class FileSettings(Closed):
    """The tokens of a tokenizers JSON file, which brings its own normalisation, special tokens and padding id.

    Attributes:
        length: tokens of a row, special tokens included.
        file: the file's path in the bundle's assets.
    """

    tokenizer: Literal["file"]
    length: int = Field(ge=1, le=1 << 20)
    file: str = Field(min_length=1)


class TextSettings(RootModel[Annotated[CharacterSettings | FileSettings, Field(discriminator="tokenizer")]]):
    """What the model fixed: one of the two, told apart by `tokenizer`."""


class TextLimits(Closed):
    """What a payload may cost; more text than the model reads is allowed up to here, and truncated."""

    max_bytes: int = Field(default=1 << 18, gt=0)
    max_characters: int = Field(default=1 << 16, gt=0)


class TextProcessor:
    """Turns UTF-8 text into the ids of its tokens, without white space around it."""

    settings_type: ClassVar[type[TextSettings]] = TextSettings
    limits_type: ClassVar[type[TextLimits]] = TextLimits

    def __init__(self, settings: TextSettings, limits: TextLimits, assets: Path) -> None:
        """Prepare to decode; `assets` holds the tokenizers file, if the settings name one.

        Raises:
            SettingsError: the tokenizers file is missing, outside the assets, not valid, or needs a longer `length`.
            MissingExtraError: there is such a file and `tokenizers` is not installed.
        """
        self._length = settings.root.length
        self._limits = limits
        self._tokenizer = _tokenizer_from_settings(settings.root, assets)

    @property
    def dtype(self) -> DType:
        """Always int32, which holds the ids of every tokenizer."""
        return "int32"

    @property
    def shape(self) -> tuple[int, ...]:
        """`(length,)`."""
        return (self._length,)

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest id, padding and unknown included: the rows that an embedding table needs."""
        return self._tokenizer.vocabulary_size

    def decode(self, payload: bytes) -> NDArray[np.generic]:
        """Return the ids of one row, int32 `(length,)`.

        Raises:
            PayloadError: the payload is empty or white space only, too large, not UTF-8, holds a NUL, or has too many
                characters.
        """
        check_size(payload, self._limits.max_bytes)
        text = self._checked(text_from_utf8(payload).strip())
        return self._tokenizer.encode(text)

    def _checked(self, text: str) -> str:
        if not text:
            raise EmptyPayloadError("white space only")
        if len(text) > self._limits.max_characters:
            raise TooManyCharactersError(len(text), self._limits.max_characters)
        if (position := text.find("\0")) >= 0:
            raise NulCharacterError(position)
        return text


def _tokenizer_from_settings(settings: CharacterSettings | FileSettings, assets: Path) -> Tokenizer:
    if isinstance(settings, FileSettings):
        return FileTokenizer(assets, settings.file, settings.length)
    return CharacterTokenizer(settings.alphabet, settings.length, form=settings.form, lower=settings.lower)
