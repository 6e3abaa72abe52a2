"""What a batch of payloads becomes, whoever decodes it."""

from __future__ import annotations

import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onepath.contract.errors import MissingExtraError, PayloadError
from onepath.contract.presence import ABSENT, FAILED, PRESENT
from onepath.contract.status import bytes_from_status, status_from_bytes
from onepath.modalities import decode_rows
from tests.modalities.media_files import image_file, noise, processor, sound_file, tone
from tests.modalities.point_files import cloud, npy_file, ply_file
from tests.modalities.video_files import clip_file, moving

IMAGE = processor("image", {"height": 6, "width": 7})
GOOD = [
    image_file(noise(11, 13, 3, seed=seed), name) for seed, name in enumerate(("PNG", "JPEG", "WEBP", "BMP", "GIF"))
]
CLIPS = [clip_file(moving(6, 8, 10, seed), "libx264") for seed in range(2)]
CLOUDS = [npy_file(cloud(20)), ply_file(cloud(20, seed=1))]
MOVING = {
    "video": (
        processor("video", {"frames": 3, "height": 6, "width": 7}),
        [*CLIPS, b"", CLIPS[0][:-50], b"\0\0\0\x18ftypisom"],
    ),
    "point_cloud": (processor("point_cloud", {"points": 6}), [*CLOUDS, b"", CLOUDS[0][:-50], b"ply\n"]),
}
BAD = [b"junk", GOOD[0][:60], GOOD[1][:300], b"\x89PNG\r\n\x1a\n" + bytes(50)]


def rows(payloads, absent="remerge", on_bad_payload="absent", decoder=IMAGE, pool=None):
    return decode_rows(decoder, payloads, absent=absent, on_bad_payload=on_bad_payload, pool=pool)


class Plugin:
    """A third-party processor that does what it is told."""

    dtype = "float32"
    shape = (2,)

    def __init__(self, outcome):
        self.outcome = outcome

    def decode(self, payload):
        if payload == b"good":
            return np.ones(2, dtype=np.float32)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def test_an_empty_payload_is_absent_and_has_no_status():
    made = rows([b"", GOOD[0]])
    assert made.states.tolist() == [ABSENT, PRESENT]
    assert made.statuses == [None, None]


def test_states_are_uint8_and_values_of_the_processors_type():
    made = rows([b"", GOOD[0]])
    assert (made.states.dtype, made.values.dtype) == (np.uint8, np.uint8)
    assert made.values.shape == (2, 3, 6, 7)


def test_a_bad_payload_counts_as_absent_and_says_why():
    made = rows([BAD[0]])
    assert made.states.tolist() == [ABSENT]
    assert made.statuses[0].code == "unsupported_format"


def test_a_bad_payload_fails_its_row_where_the_manifest_says_so():
    made = rows([b"", BAD[0], GOOD[0]], on_bad_payload="fail")
    assert made.states.tolist() == [ABSENT, FAILED, PRESENT]


def test_an_absent_payload_that_is_required_fails_its_row():
    made = rows([b"", GOOD[0]], absent="required")
    assert made.states.tolist() == [FAILED, PRESENT]
    assert [status and status.code for status in made.statuses] == ["required", None]


def test_a_bad_payload_that_is_required_fails_its_row_with_its_own_status():
    made = rows([BAD[0]], absent="required", on_bad_payload="absent")
    assert made.states.tolist() == [FAILED]
    assert made.statuses[0].code == "unsupported_format"


def test_rows_that_are_not_present_are_zeros():
    made = rows([b"", BAD[0], GOOD[0], BAD[1]], on_bad_payload="fail")
    assert not made.values[[0, 1, 3]].any()
    assert made.values[2].any()


def test_no_rows_are_no_rows():
    made = rows([])
    assert (made.values.shape, made.states.shape, made.statuses) == ((0, 3, 6, 7), (0,), [])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([b"", *GOOD, *BAD]), max_size=12), st.booleans())
def test_a_row_is_the_same_alone_as_among_any_neighbours(payloads, parallel):
    with ThreadPoolExecutor(4) as pool:
        together = rows(payloads, pool=pool if parallel else None)
    for row, payload in enumerate(payloads):
        alone = rows([payload])
        assert np.array_equal(together.values[row], alone.values[0])
        assert together.states[row] == alone.states[0]
        assert together.statuses[row] == alone.statuses[0]


@pytest.mark.parametrize("kind", MOVING)
def test_a_clip_or_a_cloud_is_the_same_alone_as_among_any_neighbours(kind):
    decoder, payloads = MOVING[kind]
    with ThreadPoolExecutor(4) as pool:
        together = rows(payloads * 3, decoder=decoder, pool=pool)
    for row, payload in enumerate(payloads * 3):
        alone = rows([payload], decoder=decoder)
        assert np.array_equal(together.values[row], alone.values[0])
        assert together.states[row] == alone.states[0]
        assert together.statuses[row] == alone.statuses[0]
    assert together.states.tolist() == [PRESENT, PRESENT, ABSENT, ABSENT, ABSENT] * 3
    assert not np.array_equal(together.values[0], together.values[1])


def test_different_payloads_make_different_rows():
    made = rows(GOOD)
    assert len({row.tobytes() for row in made.values}) == len(GOOD)


def test_audio_is_the_same_from_many_threads():
    decoder = processor("audio", {"sample_rate_hz": 8000, "seconds": 0.5})
    formats = ["WAV", "FLAC", "OGG", "MP3"]
    payloads = [sound_file(tone(200 + 10 * i, rate_hz=16000), 16000, formats[i % 4]) for i in range(32)] + [b"fLaC"]
    with ThreadPoolExecutor(8) as pool:
        together = rows(payloads, decoder=decoder, pool=pool)
    assert np.array_equal(together.values[:32], [decoder.decode(payload) for payload in payloads[:32]])
    assert together.statuses[32] == rows([b"fLaC"], decoder=decoder).statuses[0]


def test_rows_are_decoded_at_the_same_time():
    barrier = threading.Barrier(3, timeout=10)

    class Meeting(Plugin):
        def decode(self, payload):
            barrier.wait()  # passes only if three rows are being decoded at once
            return np.ones(2, dtype=np.float32)

    with ThreadPoolExecutor(3) as pool:
        assert rows([b"a", b"b", b"c"], decoder=Meeting(None), pool=pool).states.tolist() == [PRESENT] * 3


def test_one_payload_is_decoded_in_the_calling_thread():
    class Thread(Plugin):
        def decode(self, payload):
            return np.full(2, threading.get_ident() == caller, dtype=np.float32)

    caller = threading.get_ident()
    with ThreadPoolExecutor(2) as pool:
        assert rows([b"", b"a"], decoder=Thread(None), pool=pool).values[1].tolist() == [1, 1]


def test_a_pool_of_processes_gives_the_same():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        apart = rows([*GOOD[:2], BAD[0]], pool=pool)
    here = rows([*GOOD[:2], BAD[0]])
    assert np.array_equal(apart.values, here.values)
    assert apart.statuses == here.statuses


@pytest.mark.parametrize(
    "outcome",
    [
        ValueError("oh"),
        MemoryError(),
        RecursionError("deep"),
        UserWarning("careful"),
        StopIteration(),
        np.zeros(3, dtype=np.float32),
        np.zeros(2, dtype=np.float64),
        [0.0, 0.0],
        None,
    ],
    ids=repr,
)
def test_a_plugin_that_breaks_its_contract_spoils_its_own_row_only(outcome):
    made = rows([b"good", b"bad", b"good"], decoder=Plugin(outcome))
    assert made.states.tolist() == [PRESENT, ABSENT, PRESENT]
    assert made.statuses[1].code == "decoder_failed"
    assert made.values.tolist() == [[1, 1], [0, 0], [1, 1]]


def test_a_status_can_be_sent_whatever_a_plugin_writes_into_it():
    made = rows([b"bad"], decoder=Plugin(PayloadError("lone \ud800 surrogate")))
    assert status_from_bytes(bytes_from_status(made.statuses[0])).code == "bad_payload"


def test_a_fault_that_is_not_the_payloads_is_raised():
    with pytest.raises(MissingExtraError):
        rows([b"bad"], decoder=Plugin(MissingExtraError("pillow", "serve", purpose="decoding images")))
