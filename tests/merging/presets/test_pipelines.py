"""The pipelines: what the plug-ins give is what the models take, with the published constants and recipes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.presets import AUDIO_DATA_SETS, audio_preset, image_preset, point_preset, video_preset
from onepath.merging.presets.constants import IMAGENET, POINT_DATA_SETS
from onepath.merging.presets.digit_auxiliary import digit_auxiliary
from onepath.merging.presets.fbank import Fbank, FbankSettings, measured_constants
from onepath.merging.presets.preparation import pixel_preparation
from onepath.merging.presets.training_recipes import (
    AUDIO_FINE_TUNING,
    IMAGE_FINE_TUNING,
    IMAGE_LINEAR_PROBE,
    POINT_FEW_SHOT,
    POINT_FINE_TUNING,
    VIDEO_FINE_TUNING,
)
from onepath.merging.reparameterization import reparameterize, set_training_mode
from onepath.modalities import tensor_from_settings
from tests.merging.presets.small_presets import MAKERS, small_preset, values_of

BASES = {
    "image": image_preset,
    "image of 384 pixels": lambda: image_preset(side=384),
    "huge image": lambda: image_preset("huge", patch=14),
    "AudioSet": audio_preset,
    "AudioSet, overlapping": lambda: audio_preset(stride=10),
    "ESC-50": lambda: audio_preset(data="esc-50", classes=50),
    "Speech Commands": lambda: audio_preset(data="speech-commands", classes=35),
    "video": video_preset,
    "ModelNet40": point_preset,
    "ScanObjectNN": lambda: point_preset(data="scanobjectnn", classes=15),
    "ModelNet, 8192 points": lambda: point_preset(data="modelnet-8k"),
}


def plugin_tensor(preset):
    return tensor_from_settings("values", preset.kind, dict(preset.settings), {}, Path())


@pytest.mark.parametrize("name", BASES)
def test_the_model_takes_what_its_plug_in_gives(name) -> None:
    with torch.device("meta"):
        preset = BASES[name]()
        spec = plugin_tensor(preset)
        values = torch.zeros(2, *spec.shape, dtype=getattr(torch, spec.dtype))
        logits = preset.model.eval()(values)
    classes = {"ESC-50": 50, "Speech Commands": 35, "video": 400, "ScanObjectNN": 15}
    assert logits.shape[0] == 2
    assert logits.shape[1] == classes.get(name, {"i": 1000, "h": 1000, "A": 527, "M": 40}.get(name[0]))


@pytest.mark.parametrize("modality", sorted(MAKERS))
def test_the_small_values_of_these_tests_are_those_of_the_plug_ins(modality) -> None:
    spec, values = plugin_tensor(small_preset(modality)), values_of(modality, 1)
    assert (spec.shape, spec.dtype) == (tuple(values.shape[1:]), str(values.dtype).removeprefix("torch."))


def test_an_image_is_scaled_to_256_and_its_centre_seen() -> None:
    with torch.device("meta"):
        preset = image_preset()
    assert dict(preset.settings) == {
        "height": 256,
        "width": 256,
        "channels": 3,
        "fit": "crop",
        "resample": "bicubic",
    }
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 256, 256)).astype(np.float64))
    prepared = preset.model.double().preparation(pixels)
    expected = pixels[:, :, 16:240, 16:240].numpy() / 255
    expected = (expected - np.reshape([0.485, 0.456, 0.406], (3, 1, 1))) / np.reshape([0.229, 0.224, 0.225], (3, 1, 1))
    np.testing.assert_allclose(prepared, expected, rtol=1e-12)


def test_an_image_of_more_than_224_pixels_is_seen_whole() -> None:
    with torch.device("meta"):
        assert image_preset(side=384).settings["height"] == 384


def test_luminance_gets_the_means_of_the_three_channels() -> None:
    normalised = pixel_preparation(IMAGENET, 1).double()(torch.full((1, 1, 2, 2), 255.0, dtype=torch.float64))
    expected = (1 - (0.485 + 0.456 + 0.406) / 3) / ((0.229 + 0.224 + 0.225) / 3)
    np.testing.assert_allclose(normalised, expected, rtol=1e-12)
    with pytest.raises(UnsupportedModuleError, match="choose 1 or 3"):
        pixel_preparation(IMAGENET, 2)


def test_a_clips_channels_are_normalised_each_by_its_own() -> None:
    normalised = pixel_preparation(IMAGENET, 3).double()(torch.zeros(1, 3, 4, 2, 2, dtype=torch.float64))
    np.testing.assert_allclose(normalised[0, :, 3, 1, 1], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])


def test_the_constants_of_sounds_are_the_published_ones() -> None:
    published = {name: (c.frames, c.mean, c.deviation) for name, c in AUDIO_DATA_SETS.items()}
    assert published == {
        "audioset": (1024, -4.2677393, 4.5689974),
        "kinetics-400": (1024, -4.2677393, 4.5689974),
        "esc-50": (512, -6.6268077, 5.358466),
        "speech-commands": (128, -6.845978, 5.5654526),
    }


def test_the_constants_of_point_clouds_are_the_published_ones() -> None:
    published = {name: (c.groups, c.points, c.neighbours, c.unit_sphere) for name, c in POINT_DATA_SETS.items()}
    assert published == {
        "modelnet40": (64, 1024, 32, True),
        "modelnet-8k": (512, 8192, 32, True),
        "scanobjectnn": (128, 2048, 32, False),
        "shapenet-part": (128, 2048, 32, True),
    }
    with torch.device("meta"):
        model = point_preset().model
    assert (model.blocks[0].attn.heads, model.blocks[0].norm1.eps) == (6, 1e-5)


def test_the_learning_rates_are_the_published_ones() -> None:
    recipes = (IMAGE_FINE_TUNING, IMAGE_LINEAR_PROBE, AUDIO_FINE_TUNING, VIDEO_FINE_TUNING, POINT_FINE_TUNING)
    rates = [recipe.learning_rate for recipe in recipes]
    np.testing.assert_allclose(rates, [2e-3, 6.4, 2.5e-4, 7e-4 * 48 / 256, 5e-4], rtol=1e-12)


def test_the_recipes_are_the_published_ones() -> None:
    image, audio, video, points = IMAGE_FINE_TUNING, AUDIO_FINE_TUNING, VIDEO_FINE_TUNING, POINT_FINE_TUNING
    assert (image.epochs, image.layer_decay, image.weight_decay, image.warm_up_epochs) == (100, 0.65, 0.05, 5)
    assert (audio.epochs, audio.layer_decay, audio.weight_decay, audio.warm_up_epochs) == (60, 0.75, 5e-4, 4)
    assert (video.epochs, video.layer_decay, video.weight_decay, video.warm_up_epochs) == (90, 0.75, 0.05, 5)
    assert (points.epochs, points.clip_norm, points.weight_decay, points.warm_up_epochs) == (300, 10, 0.05, 10)
    assert (POINT_FEW_SHOT.epochs, POINT_FEW_SHOT.batch, POINT_FEW_SHOT.learning_rate) == (150, 32, 5e-4)
    assert [recipe.drop_path for recipe in (image, audio, video, points)] == [0.1, 0.1, 0.1, None]
    assert [recipe.label_smoothing for recipe in (image, audio, video, points)] == [0.1, 0, 0.1, 0]
    assert [recipe.precision for recipe in (image, audio, video)] == ["float16", "float32", "bfloat16"]
    assert (image.minimum_learning_rate, image.clip_norm, video.betas) == (1e-6, None, (0.9, 0.999))


def test_the_linear_probe_is_the_published_one() -> None:
    probe = IMAGE_LINEAR_PROBE
    assert (probe.epochs, probe.batch, probe.optimizer, probe.weight_decay) == (90, 16_384, "lars", 0)
    assert probe.head_norm


def test_the_augmentations_are_the_published_ones() -> None:
    recipes = (IMAGE_FINE_TUNING, AUDIO_FINE_TUNING, VIDEO_FINE_TUNING, POINT_FINE_TUNING)
    image, audio, video, points = (recipe.augmentation for recipe in recipes)
    assert (image.rand_augment, video.rand_augment) == ("rand-m9-mstd0.5-inc1", "rand-m7-n4-mstd0.5-inc1")
    for pictures in (image, video):
        assert (pictures.random_erasing, pictures.mixup, pictures.cutmix) == (0.25, 0.8, 1.0)
        assert (pictures.crop_area, pictures.crop_aspect, pictures.flip) == ((0.08, 1.0), (3 / 4, 4 / 3), True)
    assert (image.repeats, video.repeats) == (1, 2)
    assert (audio.time_mask, audio.frequency_mask, audio.waveform_mixup) == (192, 48, 0.5)
    assert audio.token_mask == (0.2, 0.2)
    assert (points.point_scale, points.point_shift) == ((2 / 3, 3 / 2), 0.2)


def test_only_scales_and_the_head_are_trained_in_the_linear_probe() -> None:
    preset = image_preset("micro", classes=3, side=32, patch=8, probe=True)
    auxiliary = image_preset("micro", classes=3, side=32, patch=8).model
    reparameterize(preset.model, auxiliary, layers=["attn.qkv"])
    set_training_mode(preset.model, "scales", besides=["head."])
    trained = [name for name, p in preset.model.named_parameters() if p.requires_grad]
    scales = [f"blocks.{block}.attn.qkv.parametrizations.weight.0.scale" for block in range(4)]
    assert trained == [*scales, "head.1.weight", "head.1.bias"]
    assert preset.training.trained == "scales_and_head"


@torch.no_grad()
def test_the_probes_head_normalises_by_what_it_kept() -> None:
    head = image_preset("micro", classes=3, side=32, patch=8, probe=True).model.double().head
    for _ in range(300):
        head.train()(torch.randn(64, 64, dtype=torch.float64) * 3 + 5)
    normalised = head[0].eval()(torch.full((1, 64), 8.0, dtype=torch.float64))
    np.testing.assert_allclose(normalised.mean(), 1.0, atol=0.1)


def test_a_data_set_of_ones_own_is_measured_once() -> None:
    samples = torch.from_numpy(np.random.default_rng(0).normal(0, 2000, (8, 4000)).astype(np.int16))
    bank = FbankSettings(8000, bands=20, frames=60)
    constants = measured_constants(samples, bank)
    assert (constants.frames, constants.seconds) == (60, 0.5)
    own = FbankSettings(8000, bands=20, frames=48, mean=constants.mean, deviation=constants.deviation)
    normalised = Fbank(own)(samples.double())
    np.testing.assert_allclose([normalised.mean(), normalised.std()], [0, 0.5], atol=1e-3)


def test_an_unknown_data_set_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UnsupportedModuleError, match="audioset, kinetics-400, esc-50, speech-commands"):
        audio_preset("micro", data="audio set")
    with pytest.raises(UnsupportedModuleError, match="modelnet40"):
        point_preset("micro", data="modelnet")


def test_the_digit_auxiliary_takes_its_own_rows() -> None:
    model, pixels, digits = digit_auxiliary()
    assert (pixels.shape, pixels.dtype, pixels.max().item()) == ((1797, 1, 8, 8), torch.uint8, 255)
    assert torch.bincount(digits).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert model(pixels[:2]).shape == (2, 10)
