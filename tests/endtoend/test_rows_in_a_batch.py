"""One batch mixes patterns and bad payloads, and no row notices another."""

import numpy as np
import pytest

from onepath.clients import Client
from tests.endtoend.conftest import PATTERNS

MODALITIES = ("image", "audio", "text")


@pytest.fixture
def client(server):
    with Client(server.grpc_address) as client:
        yield client


def predict(client, rows):
    return client.predict("digits", **{name: [row.get(name) for row in rows] for name in MODALITIES})


def test_a_batch_of_all_patterns_answers_each_row_as_it_is_answered_alone(client, released):
    rows = [released.rows_of(pattern)[0] for pattern in PATTERNS]
    together = predict(client, rows)
    for pattern, row, answer in zip(PATTERNS, rows, together, strict=True):
        assert answer.presence == pattern
        assert np.abs(answer.scores - predict(client, [row])[0].scores).max() < 1e-5


@pytest.mark.parametrize(
    ("modality", "junk", "code"),
    [
        ("image", b"\x89PNG\r\n\x1a\n" + b"junk" * 20, "corrupt"),
        ("image", b"not an image at all", "unsupported_format"),
        ("audio", b"RIFF\x00\x00\x00\x00WAVEjunk", "corrupt"),
        ("text", b"\xff\xfe\x00", "not_utf8"),
    ],
)
def test_a_bad_payload_in_row_3_says_so_and_leaves_the_others_exactly_as_they_were(
    client, released, modality, junk, code
):
    good = [*released.whole_rows, *released.whole_rows][:4]
    without = {name: payload for name, payload in good[2].items() if name != modality}
    expected = predict(client, [good[0], good[1], without, good[3]])
    found = predict(client, [good[0], good[1], without | {modality: junk}, good[3]])
    assert np.array_equal(found.scores, expected.scores)
    assert [row.status for row in found][:2] == [{}, {}]
    assert found[2].status[modality].code == code
    assert found[2].status[modality].message
    assert modality not in found[2].presence


def test_the_junk_itself_changes_the_row_that_has_it(client, released):
    whole = released.whole_rows[0]
    torn = predict(client, [whole | {"image": b"junk"}])
    assert not np.array_equal(torn.scores, predict(client, [whole]).scores)


def test_a_row_with_nothing_present_says_so_and_has_zeros(client, released):
    empty, whole = predict(client, [{}, released.whole_rows[0]])
    assert (empty.ok, empty.label, empty.presence) == (False, None, ())
    assert "nothing is present" in empty.row_status
    assert not empty.scores.any()
    assert whole.ok


def test_a_row_whose_only_payload_is_bad_says_both(client):
    (row,) = predict(client, [{"image": b"junk"}])
    assert "nothing is present" in row.row_status
    assert row.status["image"].code == "unsupported_format"
