"""How processors come from a manifest or a recipe."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from onepath.contract.errors import UnknownPluginError
from onepath.contract.manifest import ModalityEntry
from onepath.contract.plugins import known_plugins
from onepath.contract.tensors import TensorSpec
from onepath.modalities import processor_from_entry, processor_from_settings, settings_in_full, tensor_from_settings
from onepath.modalities.setup_errors import SettingsError, TensorMismatchError

DIGITS = {
    "image": ({"height": 16, "width": 16, "channels": 1}, "uint8", (1, 16, 16)),
    "audio": ({"sample_rate_hz": 8000, "seconds": 1.0}, "int16", (8000,)),
    "text": ({"tokenizer": "characters", "length": 16}, "int32", (16,)),
    "tabular": ({"columns": [{"name": "a"}, {"name": "b"}], "missing_indicator": True}, "float32", (4,)),
    "video": ({"frames": 4, "height": 8, "width": 9}, "uint8", (3, 4, 8, 9)),
    "point_cloud": ({"points": 16, "groups": {"count": 4, "neighbours": 3}}, "float32", (4, 4, 3)),
}


def entry(kind, **changes):
    settings, dtype, shape = DIGITS[kind]
    tensor = {"name": "input", "dtype": dtype, "shape": shape, **changes}
    return ModalityEntry(name="input", kind=kind, settings=settings, tensor=TensorSpec(**tensor))


def problems(kind, settings, limits=None):
    with pytest.raises(SettingsError) as caught:
        processor_from_settings("input", kind, settings, limits or {}, Path())
    return dict(caught.value.problems)


@pytest.mark.parametrize("kind", DIGITS)
def test_the_built_in_modalities_are_plugins(kind):
    assert kind in known_plugins("onepath.modalities")


@pytest.mark.parametrize("kind", DIGITS)
def test_the_tensor_is_known_from_the_settings(kind):
    settings, dtype, shape = DIGITS[kind]
    assert tensor_from_settings("x", kind, settings, {}, Path()) == TensorSpec(name="x", dtype=dtype, shape=shape)


@pytest.mark.parametrize("kind", DIGITS)
def test_an_entry_gives_its_processor(kind):
    processor = processor_from_entry(entry(kind), Path())
    assert (processor.dtype, processor.shape) == DIGITS[kind][1:]


@pytest.mark.parametrize("changes", [{"dtype": "float64"}, {"shape": (1, 1)}, {"name": "other"}])
@pytest.mark.parametrize("kind", DIGITS)
def test_an_entry_whose_tensor_the_processor_does_not_make_is_refused(kind, changes):
    with pytest.raises(TensorMismatchError, match="the manifest says"):
        processor_from_entry(entry(kind, **changes), Path())


def test_an_unknown_kind_is_answered_with_the_known_and_the_nearest():
    with pytest.raises(
        UnknownPluginError, match=r"did you mean 'image'.*audio, image, point_cloud, tabular, text, video"
    ):
        processor_from_settings("x", "imgae", {}, {}, Path())


def test_every_problem_of_settings_and_limits_is_listed_at_once():
    found = problems("image", {"height": 0, "fit": "squash"}, {"max_bytes": 0, "max_megabytes": 3})
    assert set(found) == {
        "settings.height", "settings.width", "settings.fit", "limits.max_bytes", "limits.max_megabytes",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("image", {"channels": 2}),
        ("image", {"height": 1 << 20}),
        ("image", {"background": (0, 0, 256)}),
        ("image", {"resample": "psychic"}),
        ("audio", {"sample_rate_hz": 1}),
        ("audio", {"seconds": 0}),
        ("audio", {"seconds": float("inf")}),
        ("audio", {"seconds": 1e-6}),
        ("audio", {"crop": "end"}),
        ("text", {"length": 0}),
        ("text", {"tokenizer": "words"}),
        ("text", {"alphabet": ""}),
        ("text", {"form": "NFX"}),
        ("text", {"file": "tokenizer.json"}),
        ("video", {"frames": 0}),
        ("video", {"channels": 4}),
        ("video", {"sampling": "random"}),
        ("video", {"stride": 0}),
        ("video", {"short": "loop"}),
        ("point_cloud", {"points": 0}),
        ("point_cloud", {"points": 3}),
        ("point_cloud", {"normalise": "unit_cube"}),
        ("point_cloud", {"axes": ("x", "y", "-y")}),
        ("point_cloud", {"axes": ("x", "y")}),
        ("point_cloud", {"groups": {"count": 17, "neighbours": 3}}),
        ("point_cloud", {"groups": {"count": 3, "neighbours": 17}}),
        ("point_cloud", {"groups": {"count": 3}}),
        ("tabular", {"columns": []}),
        ("tabular", {"columns": "a"}),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(kind, change):
    assert problems(kind, {**DIGITS[kind][0], **change})


@pytest.mark.parametrize("kind", DIGITS)
def test_settings_in_full_are_json_and_mean_the_same(kind):
    settings, limits = settings_in_full("x", kind, DIGITS[kind][0], {})
    assert settings_in_full("x", kind, json.loads(json.dumps(settings)), limits) == (settings, limits)
    assert "max_bytes" in limits
    assert DIGITS[kind][0].keys() <= settings.keys()


def test_a_point_cloud_without_groups_is_its_points():
    assert tensor_from_settings("x", "point_cloud", {"points": 16}, {}, Path()).shape == (16, 3)


def test_settings_in_full_keep_what_was_given():
    settings, limits = settings_in_full("x", "image", {"height": 3, "width": 4, "fit": "pad"}, {"max_bytes": 5})
    assert (settings["height"], settings["fit"], limits["max_bytes"]) == (3, "pad", 5)


def test_importing_the_modalities_loads_no_decoder():
    code = (
        "import sys, onepath.modalities, onepath.modalities.image, onepath.modalities.audio, onepath.modalities.text\n"
        "import onepath.modalities.video, onepath.modalities.point_cloud\n"
        "print(sorted({'PIL', 'av', 'soundfile', 'soxr', 'tokenizers', 'torch', 'onnx'} & set(sys.modules)))"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"
