"""The filterbank equals Kaldi's, as transformers and numpy compute it."""

import numpy as np
import pytest
import torch

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.presets.fbank import Fbank, FbankSettings

RATE = 16_000


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Return half a second that is loud and quiet, low and high, int16 `(samples,)`."""
    time = np.arange(RATE // 2) / RATE
    tones = np.sin(2 * np.pi * 300 * time) + 0.3 * np.sin(2 * np.pi * (500 + 2000 * time) * time)
    noise = np.random.default_rng(0).normal(0, 0.02, len(time))
    return np.round(9000 * (tones * np.exp(-4 * time) + noise) + 200).astype(np.int16)


def log_mel(samples: np.ndarray, **settings) -> np.ndarray:
    """Return what the module gives for one row, without its normalisation."""
    fbank = Fbank(FbankSettings(**settings))
    return fbank(torch.from_numpy(samples).double().unsqueeze(0))[0, 0].numpy()


def kaldi_log_mel(waveform: np.ndarray, **changes) -> np.ndarray:
    from transformers import audio_utils

    with pytest.warns(UserWarning, match="all zero"):  # the lowest bands are narrower than a bin
        filters = audio_utils.mel_filter_bank(
            num_frequency_bins=257,
            num_mel_filters=128,
            min_frequency=20,
            max_frequency=RATE // 2,
            sampling_rate=RATE,
            norm=None,
            mel_scale="kaldi",
            triangularize_in_mel_space=True,
        )
    settings = {"preemphasis": 0.97, "remove_dc_offset": True, "center": False, "log_mel": "log"} | changes
    return audio_utils.spectrogram(
        waveform,
        audio_utils.window_function(400, "hann", periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        mel_filters=filters,
        mel_floor=1.192092955078125e-07,
        dtype=np.float64,
        **settings,
    ).T


def test_it_equals_the_spectrogram_of_transformers_with_kaldis_settings(speech) -> None:
    expected = kaldi_log_mel(speech / 32768 - np.mean(speech / 32768))
    found = log_mel(speech, frames=48)
    assert expected.shape == (48, 128)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.abs(found - kaldi_log_mel(speech / 32768, preemphasis=None)).max() > 0.1
    assert np.abs(found - kaldi_log_mel(speech / 32768, remove_dc_offset=False)).max() > 0.1


def test_it_equals_the_steps_written_out(speech) -> None:
    frame = speech[160:560] / 32768
    frame = frame - frame.mean()
    frame = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
    power = np.abs(np.fft.rfft(frame * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)), 512)) ** 2
    mel = 1127 * np.log(1 + np.arange(257) * RATE / 512 / 700)
    lowest, highest = 1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + RATE / 2 / 700)
    step = (highest - lowest) / 129
    for band in (0, 40, 127):
        weights = np.clip(1 - np.abs(mel - lowest - step * (band + 1)) / step, 0, None)
        weights[256] = 0
        np.testing.assert_allclose(log_mel(speech, frames=48)[1, band], np.log(power @ weights), rtol=1e-9)


def test_the_mean_of_a_clip_changes_nothing(speech) -> None:
    np.testing.assert_allclose(log_mel(speech + np.int16(3000), frames=8), log_mel(speech, frames=8), atol=1e-7)


def test_a_short_clip_is_followed_by_zeros_before_it_is_normalised(speech) -> None:
    found = log_mel(speech, frames=50, mean=-4.0, deviation=2.0)
    np.testing.assert_allclose(found[:48], (log_mel(speech, frames=48) + 4) / 4, rtol=1e-12)
    np.testing.assert_array_equal(found[48:], 1.0)


def test_a_long_clip_is_cut(speech) -> None:
    np.testing.assert_array_equal(log_mel(speech, frames=5), log_mel(speech, frames=48)[:5])


def test_silence_is_finite() -> None:
    np.testing.assert_allclose(log_mel(np.zeros(800, np.int16), frames=3), np.log(1.1920929e-07), rtol=1e-6)


def test_ten_seconds_at_sixteen_kilohertz_have_998_frames() -> None:
    assert FbankSettings().frames_of(160_000) == 998
    assert FbankSettings(8000).frames_of(200) == 1


def test_audio_shorter_than_a_frame_is_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match="one frame has 400"):
        log_mel(np.zeros(399, np.int16))


@pytest.mark.parametrize("wrong", [{"bands": 0}, {"frames": 0}, {"window_ms": 0.0}, {"deviation": 0.0}])
def test_a_filterbank_without_size_is_refused(wrong) -> None:
    with pytest.raises(UnsupportedModuleError, match="size below 1"):
        Fbank(FbankSettings(**wrong))
