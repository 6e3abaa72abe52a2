from __future__ import annotations

import time

import numpy as np
import pytest
from espeak_voice import SAMPLE_RATE_HZ, SpeechError, Utterance, speak
from spoken_digits import Clip, noises_of, wav_from_clip


def samples_from_wav(payload: bytes) -> np.ndarray:
    return np.frombuffer(payload[44:], dtype="<i2").astype(np.float64)


def test_equal_utterances_are_said_with_equal_samples_whatever_the_clock_says() -> None:
    said = [Utterance("7", "en+f5", 170, 50), Utterance("3", "de+whisper", 200, 30)]  # voices with random breath
    before = speak(said)
    time.sleep(1.1)  # the library's own seed is the time in seconds
    for first, second in zip(before, speak(said), strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_same_digit_sounds_different_from_another_voice() -> None:
    first, second = speak([Utterance("7", "en+m1", 170, 50), Utterance("7", "de+f2", 170, 50)])
    assert first.shape != second.shape or (first != second).any()


def test_slow_speech_lasts_longer() -> None:
    slow, fast = speak([Utterance("7", "en+m1", 110, 50), Utterance("7", "en+m1", 260, 50)])
    assert len(slow) > 1.3 * len(fast)


def test_a_digit_is_said_within_a_second_or_so() -> None:
    (samples,) = speak([Utterance("7", "en+m1", 170, 50)])
    assert 0.1 < len(samples) / SAMPLE_RATE_HZ < 1.2
    assert abs(samples.astype(np.int64)).max() > 3000


def test_a_voice_that_does_not_exist_is_named() -> None:
    with pytest.raises(SpeechError, match="nobody"):
        speak([Utterance("7", "nobody", 170, 50)])


@pytest.mark.parametrize("snr_db", [0.0, 20.0])
def test_noise_lies_below_speech_by_the_asked_decibels(snr_db: float) -> None:
    noise = np.resize([1.0, -1.0], SAMPLE_RATE_HZ).astype(np.float32)  # of unit power
    clip = Clip(7, "", np.full(SAMPLE_RATE_HZ // 2, 1000, dtype=np.int16))
    samples = samples_from_wav(wav_from_clip(clip, noise, np.random.default_rng(0), snr_db=snr_db))
    speaking = np.abs(np.convolve(samples, [0.5, 0.5], "same")) > 100  # two neighbours' noise cancels
    level, noise_level = np.mean(samples[speaking]), np.mean(np.abs(samples[~speaking]))
    assert 20 * np.log10(level / noise_level) == pytest.approx(snr_db, abs=0.05)


def test_noises_have_unit_power_and_differ() -> None:
    noises = noises_of(4, np.random.default_rng(0))
    np.testing.assert_allclose(np.mean(noises.astype(np.float64) ** 2, axis=1), 1, rtol=1e-4)
    assert abs(np.corrcoef(noises) - np.eye(4)).max() < 0.5
