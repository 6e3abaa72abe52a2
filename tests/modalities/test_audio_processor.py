"""What audio becomes."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from onepath.contract.errors import PayloadError
from tests.modalities.media_files import processor, sound_file, tone, wav_file

RATE = 8000


def decoded(payload, seconds=1.0, rate_hz=RATE, crop="start", **limits):
    settings = {"sample_rate_hz": rate_hz, "seconds": seconds, "crop": crop}
    return processor("audio", settings, **limits).decode(payload)


def strongest_hz(samples, rate_hz=RATE):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return np.argmax(spectrum) * rate_hz / len(samples)


def amplitude(samples):
    middle = samples[len(samples) // 4 : 3 * len(samples) // 4].astype(float)
    return np.sqrt(2 * np.mean(middle**2)) / 32768


@pytest.mark.parametrize("sound_format", ["WAV", "FLAC"])
def test_sixteen_bit_mono_at_the_models_rate_passes_unchanged(sound_format):
    samples = np.random.default_rng(0).integers(-32768, 32768, RATE).astype(np.int16)
    made = decoded(sound_file(samples, RATE, sound_format, subtype="PCM_16"))
    assert made.dtype == np.int16
    assert np.array_equal(made, samples)


def test_one_changed_sample_changes_the_result():
    samples = np.zeros(RATE, dtype=np.int16)
    samples[17] = 1
    assert not np.array_equal(decoded(sound_file(samples)), np.zeros(RATE))


@pytest.mark.parametrize("rate_hz", [4000, 11025, 16000, 22050, 44100, 48000, 96000, 192000])
def test_resampling_keeps_frequency_and_amplitude(rate_hz):
    made = decoded(sound_file(tone(440, rate_hz=rate_hz), rate_hz))
    assert strongest_hz(made) == pytest.approx(440, abs=1)
    assert amplitude(made) == pytest.approx(0.5, rel=0.01)


def test_reading_at_the_wrong_rate_would_move_the_frequency():
    samples = np.round(tone(440, rate_hz=16000) * 32767).astype(np.int16)
    assert strongest_hz(samples[:RATE]) != pytest.approx(440, abs=1)


def test_what_the_models_rate_cannot_hold_is_filtered_out_and_not_mirrored():
    assert amplitude(decoded(sound_file(tone(6000, rate_hz=48000), 48000))) < 0.001


@pytest.mark.parametrize(("sound_format", "options"), [("OGG", {}), ("OGG", {"subtype": "OPUS"}), ("MP3", {})])
def test_a_lossy_format_keeps_the_tone(sound_format, options):
    made = decoded(sound_file(tone(440, rate_hz=48000), 48000, sound_format, **options))
    assert strongest_hz(made) == pytest.approx(440, abs=1)
    assert amplitude(made) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
def test_every_wav_encoding_has_the_same_scale(subtype):
    assert amplitude(decoded(sound_file(tone(440, rate_hz=RATE), RATE, subtype=subtype))) == pytest.approx(
        0.5, rel=0.02
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_mono_is_the_mean_of_the_channels(channels):
    samples = np.random.default_rng(1).integers(-3000, 3000, (RATE, channels)).astype(np.int16)
    made = decoded(sound_file(samples))
    assert np.abs(made - samples.astype(float).mean(axis=1)).max() <= 0.5 + 1e-3
    assert channels == 1 or np.abs(made - samples[:, 0]).max() > 0.51


def test_opposite_channels_cancel():
    left = tone(440, rate_hz=RATE)
    assert not decoded(sound_file(np.stack([left, -left], axis=1))).any()


def test_short_audio_is_followed_by_silence():
    made = decoded(sound_file(np.full(100, 500, dtype=np.int16)))
    assert (made[:100] == 500).all()
    assert not made[100:].any()


@pytest.mark.parametrize(("crop", "first"), [("start", 0), ("centre", RATE // 2)])
def test_long_audio_keeps_the_part_that_crop_names(crop, first):
    samples = np.arange(2 * RATE, dtype=np.int16)
    assert np.array_equal(decoded(sound_file(samples), crop=crop), samples[first : first + RATE])


def test_what_is_louder_than_full_scale_is_clipped():
    made = decoded(sound_file(np.array([2.0, -2.0, 1.0, -1.0]), subtype="FLOAT"))
    assert made[:4].tolist() == [32767, -32768, 32767, -32768]


def test_levels_are_rounded_to_the_nearest():
    made = decoded(sound_file(np.array([0.4, 0.6, -0.6, 1.5001]) / 32768, subtype="FLOAT"))
    assert made[:4].tolist() == [0, 1, -1, 2]


def test_one_sample_at_a_far_higher_rate_is_a_row_of_silence():
    assert decoded(sound_file(np.ones(1), 192000)).shape == (RATE,)


def test_the_length_is_seconds_times_rate():
    assert processor("audio", {"sample_rate_hz": 16000, "seconds": 0.25}).shape == (4000,)


def test_a_wav_written_as_a_stream_has_a_placeholder_for_its_length():
    samples = np.arange(100, dtype="<i2")
    made = decoded(wav_file(samples.tobytes(), declared=0xFFFFFFFF))
    assert np.array_equal(made[:100], samples)


def test_duration_is_refused_by_the_header_alone():
    with pytest.raises(PayloadError) as caught:
        decoded(sound_file(np.zeros(RATE + 1)), max_seconds=1.0)
    assert caught.value.code == "too_long"


def test_audio_as_long_as_the_limit_is_accepted():
    assert decoded(sound_file(np.zeros(RATE)), max_seconds=1.0).shape == (RATE,)


@pytest.mark.parametrize(
    ("sound_format", "options"), [("WAV", {}), ("FLAC", {}), ("OGG", {}), ("OGG", {"subtype": "OPUS"})]
)
def test_audio_cut_anywhere_is_refused(sound_format, options):
    payload = sound_file(tone(440, rate_hz=RATE, seconds=0.2), RATE, sound_format, **options)
    assert decoded(payload).any()
    for length in [*range(1, len(payload), 29), len(payload) - 1]:
        with pytest.raises(PayloadError):
            decoded(payload[:length])


def mp3(bitrate_mode):
    file = io.BytesIO()
    options = {"format": "MP3", "bitrate_mode": bitrate_mode, "compression_level": 0.5}
    with soundfile.SoundFile(file, "w", samplerate=44100, channels=1, **options) as sound:
        sound.write(np.random.default_rng(0).normal(0, 0.1, 44100 * 5))
    return file.getvalue()


def without_index(payload):
    return payload[payload.find(payload[:2], 4) :]


def test_an_indexed_mp3_cut_in_half_is_refused():
    payload = mp3("VARIABLE")
    with pytest.raises(PayloadError) as caught:
        decoded(payload[: len(payload) // 2])
    assert caught.value.code == "truncated"


def test_an_mp3_of_constant_bit_rate_needs_no_index():
    assert decoded(without_index(mp3("CONSTANT"))).any()


def test_an_mp3_of_variable_bit_rate_without_an_index_is_refused_and_not_shortened():
    with pytest.raises(PayloadError) as caught:
        decoded(without_index(mp3("VARIABLE")))
    assert caught.value.code == "corrupt"


def test_tags_behind_an_mp3_are_no_audio():
    payload = without_index(mp3("CONSTANT"))
    assert np.array_equal(decoded(payload + b"TAG" + bytes(125)), decoded(payload))
