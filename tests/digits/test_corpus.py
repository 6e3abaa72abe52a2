from __future__ import annotations

import io
import wave

import numpy as np
import pytest
from paired_rows import MODALITIES, SPLITS, Corpus, Payloads, corpus_from_seed, pair_by_digit, test_rows_from_seed
from PIL import Image
from sklearn.datasets import load_digits

from onepath.contract.presence import PRESENT
from onepath.modalities import decode_rows

# pytest would collect it: its name begins with "test".
rows_from_seed = test_rows_from_seed
del test_rows_from_seed

SCANS = 1797


def distance(left: str, right: str) -> int:
    """The Levenshtein distance."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        row, before = [i], row
        for j, b in enumerate(right, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b)))
    return row[-1]


def shared(corpus: Corpus, modality: str) -> set[str]:
    """The sources of a modality that more than one split has."""
    sets = [set(corpus[split][modality].sources) for split in SPLITS]
    return (sets[0] & sets[1]) | (sets[0] & sets[2]) | (sets[1] & sets[2])


@pytest.mark.parametrize("modality", MODALITIES)
def test_no_two_splits_have_a_source_in_common(corpus: Corpus, modality: str) -> None:
    assert shared(corpus, modality) == set()


def test_a_source_in_two_splits_would_be_found(corpus: Corpus) -> None:
    leaking = {**corpus, "pairs": {**corpus["pairs"], "image": corpus["test"]["image"]}}
    assert len(shared(leaking, "image")) == len(corpus["test"]["image"])


def test_every_scan_that_scikit_learn_ships_is_in_one_split(corpus: Corpus) -> None:
    sources = {source for split in SPLITS for source in corpus[split]["image"].sources}
    assert sources == {f"scan {number}" for number in range(SCANS)}


def test_scans_keep_their_digits(corpus: Corpus) -> None:
    truth = load_digits().target
    images = corpus["test"]["image"]
    assert [truth[int(source.split()[1])] for source in images.sources] == images.digits.tolist()


def test_a_third_of_the_scans_is_held_out_for_the_test(corpus: Corpus) -> None:
    assert len(corpus["test"]["image"]) == pytest.approx(SCANS / 3, abs=5)


def test_no_payload_of_the_test_is_a_payload_of_the_training(corpus: Corpus) -> None:
    for modality in MODALITIES:
        assert not set(corpus["test"][modality].encoded) & set(corpus["train"][modality].encoded)


def test_there_are_at_least_eight_voices_and_eight_languages(corpus: Corpus) -> None:
    voices = {voice for split in SPLITS for voice in corpus[split]["audio"].sources}
    assert len(voices) >= 8
    assert len({voice.split("+")[0] for voice in voices}) >= 8


def test_the_speakers_of_the_test_are_not_heard_in_training(corpus: Corpus) -> None:
    speakers = {split: {voice.split("+")[1] for voice in corpus[split]["audio"].sources} for split in SPLITS}
    assert len(speakers["test"]) >= 4
    assert not speakers["test"] & (speakers["train"] | speakers["pairs"])


def test_pictures_are_grey_png_of_the_encoder_s_size(corpus: Corpus) -> None:
    picture = Image.open(io.BytesIO(corpus["test"]["image"].encoded[0]))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (40, 40))


def test_recordings_are_one_second_of_16_bit_mono_at_the_library_s_rate(corpus: Corpus) -> None:
    with wave.open(io.BytesIO(corpus["test"]["audio"].encoded[0])) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels(), file.getnframes()) == (
            22050,
            2,
            1,
            22050,
        )


def test_recordings_are_audible_and_not_clipped(corpus: Corpus) -> None:
    for payload in corpus["test"]["audio"].encoded[:50]:
        samples = np.frombuffer(payload[44:], dtype="<i2").astype(np.int64)
        assert 0.19 * 32767 < abs(samples).max() < 0.91 * 32767


def test_names_have_heavier_slips_in_the_test_than_in_training(corpus: Corpus) -> None:
    from typed_digits import names_of

    def slips(split: str) -> float:
        text = corpus[split]["text"]
        pairs = list(zip(text.sources, text.digits, strict=True))[:300]
        return float(np.mean([min(distance(typed, name) for name in names_of(digit)) for typed, digit in pairs]))

    assert slips("test") > 1.3 * slips("train")


def test_every_test_payload_decodes_as_the_server_decodes_it(corpus: Corpus) -> None:
    from decoded_digits import processors_from_recipe

    for name, processor in processors_from_recipe().items():
        payloads = corpus["test"][name].encoded
        decoded = decode_rows(processor, payloads, absent="remerge", on_bad_payload="absent")
        assert (decoded.states == PRESENT).all()


def test_equal_seeds_give_equal_bytes(corpus: Corpus) -> None:
    again = corpus_from_seed(0, renderings=2)
    for split in SPLITS:
        for modality in MODALITIES:
            assert list(again[split][modality].encoded) == list(corpus[split][modality].encoded)


def test_another_seed_gives_other_bytes(corpus: Corpus) -> None:
    other = corpus_from_seed(1, renderings=2, splits=("test",))
    for modality in MODALITIES:
        assert other["test"][modality].encoded[0] != corpus["test"][modality].encoded[0]


def test_the_test_rows_made_alone_are_those_of_the_whole_corpus(corpus: Corpus) -> None:
    alone, whole = rows_from_seed(0, renderings=2), pair_by_digit(corpus["test"], np.random.default_rng(0))
    assert list(alone.payloads) == list(whole.payloads)


def test_a_row_is_made_of_payloads_of_its_digit(corpus: Corpus) -> None:
    rows = pair_by_digit(corpus["test"], np.random.default_rng(0))
    for modality in MODALITIES:
        payloads = corpus["test"][modality]
        known: dict[bytes, set[int]] = {}
        for encoded, digit in zip(payloads.encoded, payloads.digits, strict=True):
            known.setdefault(encoded, set()).add(int(digit))
        assert all(int(digit) in known[row[modality]] for row, digit in zip(rows.payloads, rows.digits, strict=True))


def test_no_payload_is_used_in_two_rows() -> None:
    digits = np.repeat(np.arange(10), 3)
    many = Payloads([bytes([place]) for place in range(30)], digits, [str(place) for place in range(30)])
    few = Payloads(many.encoded[:20], digits[:20], many.sources[:20])
    rows = pair_by_digit({"a": many, "b": few}, np.random.default_rng(0))
    assert len({row["a"] for row in rows.payloads}) == len({row["b"] for row in rows.payloads}) == len(rows) == 20


def test_every_digit_is_among_the_test_rows(corpus: Corpus) -> None:
    rows = pair_by_digit(corpus["test"], np.random.default_rng(0))
    assert np.bincount(rows.digits).min() >= 50
