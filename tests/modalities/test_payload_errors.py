"""The errors of payloads and plug-ins."""

from __future__ import annotations

import pickle
from collections import Counter

import pytest

from onepath.contract.errors import PayloadError
from onepath.contract.tensors import TensorSpec
from onepath.modalities import data_errors, errors, media_errors, setup_errors

SPEC = TensorSpec(name="x", dtype="uint8", shape=(1,))
EVERY = [
    errors.EmptyPayloadError(),
    errors.RequiredPayloadError(),
    errors.TooLargeError(20, 10),
    errors.UnsupportedFormatError("image", b"%PDF", ("PNG",)),
    errors.CorruptError("PNG image", "a reason"),
    errors.TruncatedError("WAV audio", "a reason"),
    media_errors.TooManyPixelsError(10, 20, 100),
    media_errors.SideTooLongError(10, 20, 15),
    media_errors.TooSmallError(1, 1, 2),
    media_errors.NoSamplesError(),
    media_errors.TooLongError(3.0, 2.0),
    media_errors.SampleRateError(1, 1000, 2000),
    media_errors.TooManyChannelsError(9, 8),
    media_errors.UnsupportedCodecError("mjpeg", ("h264", "vp9")),
    media_errors.NoFramesError("sound alone"),
    media_errors.TooManyFramesError(20, 10),
    media_errors.TooMuchToDecodeError(2000, 1000),
    data_errors.TooFewPointsError(1, 2),
    data_errors.TooManyPointsError(20, 10),
    data_errors.WrongShapeError("an array of shape (3)", "an array (points, 3)"),
    errors.NotFiniteError("a sample"),
    errors.OutOfRangeError("a cell", 1e300, "send less"),
    data_errors.NotUtf8Error(3, "invalid start byte"),
    data_errors.NulCharacterError(4),
    data_errors.TooManyCharactersError(11, 10),
    data_errors.NotJsonError("a reason"),
    errors.WrongTypeError("a cell", "a string", "a number"),
    data_errors.WrongColumnsError("a problem", ["a", "b"]),
    data_errors.DuplicateColumnError("a"),
    errors.DecoderFailedError("a reason"),
]
SET_UP = [
    setup_errors.SettingsError("x", "image", [("settings.height", "too low")]),
    setup_errors.TensorMismatchError("x", made=SPEC, declared=SPEC),
]


def test_every_payload_error_is_here():
    every = [kind for module in (errors, media_errors, data_errors) for kind in vars(module).values()]
    defined = {kind for kind in every if isinstance(kind, type) and issubclass(kind, PayloadError)}
    assert {type(error) for error in EVERY} == defined - {PayloadError}


def test_every_way_to_fail_has_a_code_of_its_own():
    codes = Counter(error.code for error in EVERY)
    assert set(codes.values()) == {1}
    assert PayloadError.code not in codes


@pytest.mark.parametrize("error", EVERY + SET_UP, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("error", EVERY, ids=lambda error: type(error).__name__)
def test_a_message_says_what_to_do_after_what_failed(error):
    what, _, advice = str(error).rpartition("; ")
    assert what
    assert advice


def test_text_of_a_payload_is_shown_short_and_in_ascii():
    assert errors.shown("é" * 100) == "'" + r"\xe9" * 40 + r"\u2026'"
