"""The errors of payloads and plug-ins."""

from __future__ import annotations

import pickle
from collections import Counter

import pytest

from onepath.contract.errors import PayloadError
from onepath.contract.tensors import TensorSpec
from onepath.modalities import errors, setup_errors

SPEC = TensorSpec(name="x", dtype="uint8", shape=(1,))
EVERY = [
    errors.EmptyPayloadError(),
    errors.RequiredPayloadError(),
    errors.TooLargeError(20, 10),
    errors.UnsupportedFormatError("image", b"%PDF", ("PNG",)),
    errors.CorruptError("PNG image", "a reason"),
    errors.TruncatedError("WAV audio", "a reason"),
    errors.TooManyPixelsError(10, 20, 100),
    errors.SideTooLongError(10, 20, 15),
    errors.TooSmallError(1, 1, 2),
    errors.NoSamplesError(),
    errors.TooLongError(3.0, 2.0),
    errors.SampleRateError(1, 1000, 2000),
    errors.TooManyChannelsError(9, 8),
    errors.UnsupportedCodecError("mjpeg", ("h264", "vp9")),
    errors.NoFramesError("sound alone"),
    errors.TooManyFramesError(20, 10),
    errors.TooMuchToDecodeError(2000, 1000),
    errors.TooFewPointsError(1, 2),
    errors.TooManyPointsError(20, 10),
    errors.WrongShapeError("an array of shape (3)", "an array (points, 3)"),
    errors.NotFiniteError("a sample"),
    errors.OutOfRangeError("a cell", 1e300, "send less"),
    errors.NotUtf8Error(3, "invalid start byte"),
    errors.NulCharacterError(4),
    errors.TooManyCharactersError(11, 10),
    errors.NotJsonError("a reason"),
    errors.WrongTypeError("a cell", "a string", "a number"),
    errors.WrongColumnsError("a problem", ["a", "b"]),
    errors.DuplicateColumnError("a"),
    errors.DecoderFailedError("a reason"),
]
SET_UP = [
    setup_errors.SettingsError("x", "image", [("settings.height", "too low")]),
    setup_errors.TensorMismatchError("x", made=SPEC, declared=SPEC),
]


def test_every_payload_error_is_here():
    defined = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PayloadError)}
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
