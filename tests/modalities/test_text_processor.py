"""What text becomes."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from onepath.contract.errors import MissingExtraError
from onepath.modalities.decoding import require_module
from onepath.modalities.setup_errors import SettingsError
from onepath.modalities.text import LATIN
from tests.modalities.media_files import processor


def ids(text, length=8, **settings):
    payload = text if isinstance(text, bytes) else text.encode()
    return processor("text", {"tokenizer": "characters", "length": length, **settings}).decode(payload).tolist()


@pytest.fixture
def tokens_file(tmp_path):
    vocabulary = {"[PAD]": 7, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "seven": 4, "up": 5}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(pad_id=7, pad_token="[PAD]")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def from_file(assets, text, length=6):
    settings = {"tokenizer": "file", "file": "tokenizer.json", "length": length}
    return processor("text", settings, assets).decode(text.encode()).tolist()


def test_ids_are_places_in_the_alphabet_after_padding_and_unknown():
    assert ids("cab", alphabet="abc") == [4, 2, 3, 0, 0, 0, 0, 0]


def test_the_row_is_int32():
    assert processor("text", {"tokenizer": "characters", "length": 4}).decode(b"x").dtype == np.int32


def test_an_unknown_character_has_an_id_of_its_own():
    assert ids("aλa", alphabet="a", length=3) == [2, 1, 2]


def test_long_text_loses_its_end():
    assert ids("abcabc", alphabet="abc", length=4) == [2, 3, 4, 2]


def test_upper_case_is_lower_case():
    assert ids("SEVEN") == ids("seven")
    assert ids("SEVEN", lower=False) != ids("seven", lower=False)


def test_white_space_around_the_text_is_nothing():
    assert ids("\n seven\t") == ids("seven")


def test_a_byte_order_mark_is_nothing():
    assert ids(b"\xef\xbb\xbfseven") == ids("seven")


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_composed_and_decomposed_letters_are_one(form):
    assert ids(unicodedata.normalize("NFD", "fünf"), form=form) == ids("fünf", form=form)


def test_without_a_form_they_are_two():
    assert ids(unicodedata.normalize("NFD", "fünf"), form="none") != ids("fünf", form="none")


def test_nfkc_folds_full_width_letters_and_nfc_does_not():
    assert ids("ｓｅｖｅｎ", form="NFKC") == ids("seven", form="NFKC")
    assert ids("ｓｅｖｅｎ", form="NFC") == [1, 1, 1, 1, 1, 0, 0, 0]


WORDS = """null zéro un fünf sześć pięć cztery šest öt négy åtta três sütçü žaibas čtyři ştiinţă șapte þrír fjórir
ħamsa l'œil sjö kuusi għaxra ūdens četri devyni jūnijs şapte"""


@pytest.mark.parametrize("word", WORDS.split())
def test_the_default_alphabet_knows_the_languages_of_europe_in_latin_script(word):
    assert 1 not in ids(word, length=16)


def test_the_default_alphabet_keeps_its_order_forever():
    assert ids("a é", length=3) == [2 + LATIN.index(character) for character in "a é"] == [19, 2, 55]
    assert len(LATIN) == 122


def test_the_vocabulary_holds_every_id():
    assert processor("text", {"tokenizer": "characters", "length": 4, "alphabet": "abc"}).vocabulary_size == 5


@pytest.mark.parametrize("alphabet", ["aa", "A", "\u212b"])
def test_an_alphabet_with_a_character_that_cannot_occur_is_refused(alphabet):
    with pytest.raises(SettingsError, match="alphabet"):
        ids("a", alphabet=alphabet)


def test_a_tokenizers_file_gives_its_tokens_and_its_padding(tokens_file):
    assert from_file(tokens_file, "seven up") == [2, 4, 5, 3, 7, 7]


def test_a_tokenizers_file_keeps_its_last_special_token_when_it_truncates(tokens_file):
    assert from_file(tokens_file, "up " * 50, length=4) == [2, 5, 5, 3]


def test_a_length_without_room_for_special_tokens_is_refused(tokens_file):
    with pytest.raises(SettingsError, match="2 special tokens"):
        from_file(tokens_file, "up", length=2)


def test_the_vocabulary_of_a_file_holds_its_largest_id(tokens_file):
    settings = {"tokenizer": "file", "file": "tokenizer.json", "length": 4}
    assert processor("text", settings, tokens_file).vocabulary_size == 8


@pytest.mark.parametrize("file", ["/etc/hostname", "../tokenizer.json", "missing.json", "."])
def test_a_tokenizers_file_outside_the_assets_or_missing_is_refused(tokens_file, file):
    with pytest.raises(SettingsError, match=r"settings\.file"):
        processor("text", {"tokenizer": "file", "file": file, "length": 4}, tokens_file)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"version": "1.0", "model": 3}'])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path, content):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(SettingsError, match=r"settings\.file"):
        from_file(tmp_path, "up")


def test_a_decoder_that_is_not_installed_is_named_with_its_extra():
    with pytest.raises(MissingExtraError, match=r"onepath\[serve\]"):
        require_module("a_decoder_that_does_not_exist", "a-decoder", purpose="decoding dreams")
