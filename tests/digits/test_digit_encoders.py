from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable

import numpy as np
import onnxruntime as ort
import pytest
import torch
from digit_encoders import DigitEncoder, audio_encoder, image_encoder, text_encoder
from log_mel import LogMel, mel_filters
from pathway import LAYERS, attach_pathway, scales_of

from onepath.export.collapse import collapse

MAKERS: dict[str, Callable[[], DigitEncoder]] = {
    "image": lambda: image_encoder(40),
    "audio": lambda: audio_encoder(8000),
    "text": lambda: text_encoder(50, 16),
}


def values_of(name: str, rows: int) -> torch.Tensor:
    random = np.random.default_rng(7)
    if name == "image":
        return torch.from_numpy(random.integers(0, 256, (rows, 1, 40, 40)).astype(np.uint8))
    if name == "audio":
        return torch.from_numpy(random.normal(0, 3000, (rows, 8000)).astype(np.int16))
    return torch.from_numpy(random.integers(0, 50, (rows, 16)).astype(np.int32))


@pytest.fixture(params=sorted(MAKERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def encoder(name: str) -> DigitEncoder:
    torch.manual_seed(0)
    return MAKERS[name]().eval()


@torch.no_grad()
def test_no_rows_give_no_rows(encoder: DigitEncoder, name: str) -> None:
    assert encoder(values_of(name, 0)).shape == (0, 10)


@torch.no_grad()
def test_a_row_alone_gives_what_it_gives_in_company(encoder: DigitEncoder, name: str) -> None:
    values = values_of(name, 5)
    torch.testing.assert_close(encoder(values[2:3]), encoder(values)[2:3], rtol=0, atol=1e-5)


@torch.no_grad()
def test_another_row_gives_something_else(encoder: DigitEncoder, name: str) -> None:
    logits = encoder(values_of(name, 2))
    assert abs(logits[0] - logits[1]).max() > 1e-3


@torch.no_grad()
def test_float64_gives_what_float32_gives(encoder: DigitEncoder, name: str) -> None:
    values = values_of(name, 3)
    wide = copy.deepcopy(encoder).double()(values)
    assert wide.dtype == torch.float64
    torch.testing.assert_close(encoder(values).double(), wide, rtol=0, atol=1e-4)


@torch.no_grad()
def test_onnx_runtime_gives_what_torch_gives_for_any_number_of_rows(encoder: DigitEncoder, name: str) -> None:
    session = session_from(encoder, values_of(name, 3))
    for rows in (0, 1, 7):
        values = values_of(name, rows)
        (logits,) = session.run(None, {session.get_inputs()[0].name: values.numpy()})
        np.testing.assert_allclose(logits, encoder(values).numpy(), rtol=0, atol=1e-4)


def session_from(encoder: DigitEncoder, values: torch.Tensor) -> ort.InferenceSession:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = ({0: torch.export.Dim.DYNAMIC},)
        program = torch.onnx.export(encoder, (values,), dynamo=True, dynamic_shapes=rows, verbose=False)
    assert program is not None
    buffer = io.BytesIO()
    program.save(buffer)
    return ort.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])


def test_the_encoders_have_different_shapes() -> None:
    sizes = {name: sum(parameter.numel() for parameter in make().parameters()) for name, make in MAKERS.items()}
    assert len(set(sizes.values())) == 3


def numpy_log_mel(samples: np.ndarray) -> np.ndarray:
    """The log-mel spectrogram by numpy's FFT."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 256)
    frames = np.stack([samples[start : start + 256] for start in range(0, 8000 - 256, 128)]) / 32768
    power = abs(np.fft.rfft(frames * window)) ** 2
    log = np.log(power @ mel_filters(256, 8000, 32).astype(np.float64) + 1e-6)
    return log - log.mean(axis=0)


def test_the_spectrogram_is_that_of_an_fft() -> None:
    samples = values_of("audio", 1)
    log_mel = LogMel(samples=8000, sample_rate_hz=8000, hop=128, bands=32)
    np.testing.assert_allclose(log_mel(samples)[0].numpy(), numpy_log_mel(samples[0].numpy()), atol=2e-4)


def test_the_spectrogram_of_other_samples_is_another() -> None:
    samples = values_of("audio", 1)
    log_mel = LogMel(samples=8000, sample_rate_hz=8000, hop=128, bands=32)
    other = numpy_log_mel(np.roll(samples[0].numpy(), 64))
    assert abs(log_mel(samples)[0].numpy() - other).max() > 1


def test_silence_has_a_finite_spectrogram() -> None:
    log_mel = LogMel(samples=8000, sample_rate_hz=8000, hop=128, bands=32)
    silence = log_mel(torch.zeros(1, 8000, dtype=torch.int16))
    torch.testing.assert_close(silence, torch.zeros(1, 61, 32), rtol=0, atol=1e-5)


def test_a_mel_band_peaks_where_the_mel_scale_says() -> None:
    filters = mel_filters(1024, 8000, 4)
    low, high = 2595 * np.log10(1 + 60 / 700), 2595 * np.log10(1 + 4000 / 700)
    centres = 700 * (10 ** ((low + (high - low) * np.arange(1, 5) / 5) / 2595) - 1)
    np.testing.assert_allclose(filters.argmax(axis=0) * 8000 / 1024, centres, atol=8000 / 1024)


def test_every_layer_of_the_audio_transformer_has_a_pathway_into_the_image_s() -> None:
    image, audio = MAKERS["image"](), MAKERS["audio"]()
    attach_pathway(image, audio)
    assert set(scales_of(image)) == {f"blocks.{block}.{layer}" for block in range(3) for layer in LAYERS}


@torch.no_grad()
def test_a_pathway_that_was_not_trained_changes_nothing() -> None:
    image, audio = MAKERS["image"](), MAKERS["audio"]()
    values = values_of("image", 2)
    before = image(values)
    attach_pathway(image, audio)
    assert torch.equal(image(values), before)


@torch.no_grad()
def test_a_pathway_with_a_scale_adds_the_audio_s_weights() -> None:
    image, audio = MAKERS["image"](), MAKERS["audio"]()
    own, other = image.trunk.blocks[1].mlp.fc1.weight.clone(), audio.trunk.blocks[1].mlp.fc1.weight
    attach_pathway(image, audio)
    image.trunk.blocks[1].mlp.fc1.parametrizations.weight[0].scale.fill_(0.5)
    torch.testing.assert_close(image.trunk.blocks[1].mlp.fc1.weight, own + 0.5 * other)


def test_the_collapsed_image_encoder_loads_strictly_into_the_plain_class() -> None:
    torch.manual_seed(0)
    attached = image_encoder(40).eval()
    attach_pathway(attached, audio_encoder(8000))
    scale = [parameter for parameter in attached.parameters() if parameter.shape == (1,)]
    assert len(scale) == 12
    with torch.no_grad():
        for parameter in scale:
            parameter.fill_(0.3)
    collapsed, _ = collapse(attached)
    plain = image_encoder(40).eval()
    plain.load_state_dict(collapsed.state_dict(), strict=True)
    values = values_of("image", 5)
    with torch.inference_mode():
        expected = attached(values)
        torch.testing.assert_close(plain(values), expected, rtol=0, atol=1e-5)
        for parameter in scale:
            parameter.zero_()
        assert (plain(values) - attached(values)).abs().max() > 1e-3
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in collapsed.parameters())


def test_the_report_of_the_collapse_says_that_the_scales_are_of_the_audio_s_weights() -> None:
    attached = image_encoder(40).eval()
    attach_pathway(attached, audio_encoder(8000))
    _, report = collapse(attached)
    assert [entry.auxiliaries for entry in report.layers] == [("audio",)] * 12
