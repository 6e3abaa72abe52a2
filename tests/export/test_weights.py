"""The weights of a bundle load into the plain class with `strict=True`, in the order of its own state dict."""

import json
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from onepath.contract.digests import sha256_from_bytes
from onepath.contract.errors import BundleIntegrityError, UnsupportedModuleError
from onepath.contract.manifest import FileEntry
from onepath.contract.proofs import Measurement
from onepath.export.bundles.single import SingleModality
from onepath.export.collapse import collapse
from onepath.export.proofs import safetensors_from_model
from onepath.export.weights import state_dict_from_bundle
from onepath.merging.encoders.pixels import CastInput, PixelNormalization
from onepath.merging.lego import LegoBlock, LegoFuse, LegoMerge
from onepath.merging.multimodal import run_dense
from onepath.merging.reparameterization import reparameterize
from tests.contract import small_bundle
from tests.export.answered_toy import toy_bundles, toy_code
from tests.merging.golden import largest_difference, m2pt
from tests.merging.lego.small_blocks import FEATURES, INPUTS, TOKENS, TokenEncoder, small_block, small_inputs
from tests.merging.presets.small_presets import small_model
from tests.merging.reparameterization.tiny_vit import TinyViT, golden_input, golden_vit, set_scales

WEIGHTS = "weights/model.safetensors"


def bundle_with(folder, weights: bytes):
    """Write a bundle around a file of weights."""
    digest, contents = sha256_from_bytes(weights), small_bundle.FILES | {WEIGHTS: weights}
    files = {name: FileEntry(sha256=sha256_from_bytes(data), size_bytes=len(data)) for name, data in contents.items()}
    measured = Measurement(inputs="one row", error=0.0, tolerance=1e-12, computed_in="float64")
    collapsed = small_bundle.proof(writes=digest).model_copy(update={"measurements": (measured,)})
    onnx = small_bundle.proof("onnx", reads=digest, writes=small_bundle.digest("graphs/model.onnx"))
    path = small_bundle.write(folder / "bundle", files=files, proofs=(collapsed, onnx))
    (path / WEIGHTS).write_bytes(weights)
    return path


def bundle_of(folder, encoder: nn.Module):
    """Write a bundle with the collapsed weights of an encoder of images, as a build makes them."""
    plain, _ = collapse(SingleModality("image", encoder.double().eval(), 3))
    return bundle_with(folder, safetensors_from_model(plain.float()))


def check_fits(state: dict[str, Tensor], plain: nn.Module) -> None:
    """Load a state dict strictly; keys, order, shapes and dtypes are those of the class."""
    form = [(name, tensor.shape, tensor.dtype) for name, tensor in plain.state_dict().items()]
    assert [(name, tensor.shape, tensor.dtype) for name, tensor in state.items()] == form
    plain.load_state_dict(state, strict=True)


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A bundle of the golden vision transformer with the weights of another one merged into it."""
    model = golden_vit("target")
    reparameterize(model, golden_vit("aux"))
    set_scales(model, m2pt()["vit/lambdas"])
    return bundle_of(tmp_path_factory.mktemp("extended"), model)


def test_a_transformer_with_a_second_path_becomes_the_weights_of_its_plain_class(extended):
    plain = TinyViT().eval()
    check_fits(state_dict_from_bundle(extended, "image"), plain)
    assert largest_difference(plain(golden_input()), m2pt()["vit/y_merged"]) <= 1e-5
    assert largest_difference(plain(golden_input()), m2pt()["vit/y_target_plain"]) > 1e-2


def test_the_order_is_that_of_the_class_and_not_that_of_the_file(extended):
    in_file = [name.removeprefix("encoders.image.") for name in load_file(extended / WEIGHTS)]
    assert in_file != list(TinyViT().state_dict())
    assert list(state_dict_from_bundle(extended, "image")) == list(TinyViT().state_dict())


def test_the_whole_model_and_a_part_of_an_encoder_have_their_own_keys(extended):
    whole = state_dict_from_bundle(extended)
    assert list(whole) == [f"encoders.image.{name}" for name in TinyViT().state_dict()]
    check_fits(state_dict_from_bundle(extended, "image", part="blocks.1"), TinyViT().blocks[1])
    assert state_dict_from_bundle(extended, part="encoders.image.norm").keys() == {"weight", "bias"}


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(5, 3)  # named against the order of the letters
        self.first = nn.Linear(4, 5)

    def forward(self, values: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(values)))


def test_a_model_with_folded_lora_adapters_loads_into_its_base_class(tmp_path, vision_ops: ModuleType):
    import peft

    torch.manual_seed(0)
    base = Pair()
    before = {name: tensor.double().numpy() for name, tensor in base.state_dict().items()}
    settings = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["first"], init_lora_weights=False)
    wrapped = peft.get_peft_model(base, settings)
    factors = {name: tensor.double().numpy() for name, tensor in wrapped.state_dict().items() if "lora_" in name}
    (a,), (b,) = ([array for name, array in factors.items() if f"lora_{part}" in name] for part in "AB")
    plain = Pair()
    check_fits(state_dict_from_bundle(bundle_of(tmp_path, wrapped), "image"), plain)
    expected = before["first.weight"] + 6 / 2 * b @ a
    assert np.abs(plain.first.weight.detach().numpy() - expected).max() <= 1e-6
    assert np.abs(before["first.weight"] - expected).max() > 0.1
    assert np.array_equal(plain.second.weight.detach().double().numpy(), before["second.weight"])


def test_the_weights_of_a_block_load_into_a_block_that_was_collapsed_before_it_learned(tmp_path):
    block, values = small_block("b"), small_inputs("b")["b"]
    path = bundle_of(tmp_path, block)
    plain = collapse(small_block("b", seed=1))[0].float()
    assert (plain(values.float()) - block(values)).abs().max() > 1e-2
    check_fits(state_dict_from_bundle(path, "image"), plain)
    assert (plain(values.float()) - block(values)).abs().max() <= 1e-4


def test_the_encoder_inside_a_block_loads_into_its_own_class(tmp_path):
    block = small_block("a")
    encoder = TokenEncoder(*INPUTS["a"], FEATURES["a"], TOKENS["a"])
    check_fits(state_dict_from_bundle(bundle_of(tmp_path, block), "image", part="features.encoder"), encoder)
    assert torch.equal(encoder.linear.weight, block.encoder.linear.weight.float())


class Normalising(nn.Module):
    """A patch embedding behind a normalisation of pixels, or behind none."""

    def __init__(self, first: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.patches = nn.Conv2d(1, 4, 2, stride=2, bias=False)
        self.head = nn.Linear(4, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.patches(self.first(pixels)).mean((2, 3)))


PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 1, 4, 4), np.uint8))


@pytest.fixture(scope="module")
def normalised(tmp_path_factory):
    torch.manual_seed(0)
    model = Normalising(PixelNormalization([0.5], [0.25]))
    return bundle_of(tmp_path_factory.mktemp("normalised"), model), model.float()


def test_weights_that_took_in_a_normalisation_do_not_load_into_a_class_that_normalises(normalised):
    path, _ = normalised
    with pytest.raises(RuntimeError, match=r"first\.precision"):
        Normalising(PixelNormalization([0.5], [0.25])).load_state_dict(state_dict_from_bundle(path, "image"))


def test_they_load_into_the_class_that_takes_pixels_as_they_are_where_that_is_said(normalised):
    path, model = normalised
    plain = Normalising(CastInput())
    plain.patches = nn.Conv2d(1, 4, 2, stride=2)  # the mean went into a bias
    check_fits(state_dict_from_bundle(path, "image", takes_raw_pixels=True), plain)
    assert (plain(PIXELS) - model(PIXELS)).abs().max() <= 1e-5


def test_without_the_mark_they_would_be_normalised_twice(normalised):
    path, model = normalised
    twice = Normalising(PixelNormalization([0.5], [0.25]))
    twice.patches = nn.Conv2d(1, 4, 2, stride=2)
    twice.load_state_dict(state_dict_from_bundle(path, "image", takes_raw_pixels=True), strict=True)
    assert (twice(PIXELS) - model(PIXELS)).abs().max() > 0.1


def test_weights_of_a_model_that_still_normalises_are_not_given_to_a_class_that_takes_raw_pixels(tmp_path):
    padded = Normalising(PixelNormalization([0.5], [0.25]))
    padded.patches = nn.Conv2d(1, 4, 3, padding=1)  # zeros beside the picture are not black pixels: nothing is folded
    path = bundle_of(tmp_path, padded)
    check_fits(state_dict_from_bundle(path, "image"), padded.float())
    with pytest.raises(UnsupportedModuleError, match=r"encoders\.image\.first still normalises pixels; leave"):
        state_dict_from_bundle(path, "image", takes_raw_pixels=True)
    assert list(state_dict_from_bundle(path, "image", part="head", takes_raw_pixels=True)) == ["weight", "bias"]


def test_layers_that_went_into_their_neighbour_are_gone_with_their_keys(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 2, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 5), nn.Linear(5, 3)
    )
    state = state_dict_from_bundle(bundle_of(tmp_path, model), "image")
    plain = nn.Sequential(nn.Conv2d(1, 4, 2), nn.Identity(), nn.Flatten(), nn.Linear(36, 3), nn.Identity())
    assert list(state) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    check_fits(state, plain)
    assert (plain(PIXELS.float()) - model.float()(PIXELS.float())).abs().max() <= 1e-4


def test_a_preset_keeps_its_keys_when_its_normalisation_is_folded(tmp_path):
    path = bundle_of(tmp_path, small_model("image"))
    state = state_dict_from_bundle(path, "image", takes_raw_pixels=True)
    assert list(state) == list(small_model("image").state_dict())
    assert [name for name in state_dict_from_bundle(path, "image") if name not in state] == ["preparation.1.precision"]


def test_a_bundle_that_was_built_gives_its_encoder_back():
    trained = toy_code().train({"rows": 12}, seed=3, progress=None).encoders["word"]
    encoder = nn.Sequential(toy_code().Encoder(*toy_code().WIDTHS["word"]), nn.Linear(10, 3))
    check_fits(state_dict_from_bundle(toy_bundles()["toy-word"].path, "word"), encoder)
    assert all(torch.equal(encoder.state_dict()[name], tensor) for name, tensor in trained.state_dict().items())


def test_the_weights_of_merged_blocks_load_into_a_merge_that_was_collapsed_before_it_learned():
    toy, trained = toy_code(), toy_code().blocks()
    torch.manual_seed(9)
    fresh = {name: LegoBlock(toy.Encoder(*toy.WIDTHS[name]), trained[name].settings) for name in toy.WIDTHS}
    plain = collapse(LegoMerge(fresh, method="harmonic").eval())[0]
    values = {name: torch.randn(4, inputs) * 64 for name, (inputs, _) in toy.WIDTHS.items()}
    present = torch.tensor([[True, True, True], [True, False, False], [False, True, True], [False, False, True]])
    expected = run_dense(LegoMerge(trained, method="harmonic").eval(), values, present)["scores"]
    assert (run_dense(plain, values, present)["scores"] - expected).abs().max() > 1e-2
    check_fits(state_dict_from_bundle(toy_bundles()["toy"].path), plain)
    assert (run_dense(plain, values, present)["scores"] - expected).abs().max() <= 1e-4


@pytest.mark.parametrize("order", ["stack", "weave"])
def test_the_weights_of_a_fused_chain_load_into_a_chain_that_was_collapsed_before_it_learned(tmp_path, order):
    toy, trained = toy_code(), toy_code().blocks()
    torch.manual_seed(9)
    fresh = {name: LegoBlock(toy.Encoder(*toy.WIDTHS[name]), trained[name].settings) for name in toy.WIDTHS}
    plain = collapse(LegoFuse(fresh, order=order).eval())[0]
    learned = LegoFuse(trained, order=order).eval()
    path = bundle_with(tmp_path, safetensors_from_model(collapse(learned)[0]))
    values = {name: torch.randn(4, inputs) * 64 for name, (inputs, _) in toy.WIDTHS.items()}
    present = torch.tensor([[True, True, True], [True, False, False], [False, True, True], [False, False, True]])
    expected = run_dense(learned, values, present)["scores"]
    assert (run_dense(plain, values, present)["scores"] - expected).abs().max() > 1e-2
    check_fits(state_dict_from_bundle(path), plain)
    assert (run_dense(plain, values, present)["scores"] - expected).abs().max() <= 1e-4


def test_equal_models_have_equal_files():
    first, second = Pair(), Pair()
    second.load_state_dict(first.state_dict())
    assert safetensors_from_model(first) == safetensors_from_model(second)


def test_weights_whose_order_an_older_onepath_did_not_keep_come_by_name(tmp_path):
    state = {f"encoders.image.{name}": tensor.clone() for name, tensor in Pair().state_dict().items()}
    found = state_dict_from_bundle(bundle_with(tmp_path, save(state)), "image")
    assert list(found) == ["first.bias", "first.weight", "second.bias", "second.weight"]
    Pair().load_state_dict(found, strict=True)


@pytest.mark.parametrize("said", [{"order": ["encoders.image.first.weight"]}, {"order": 3}, [], {"modules": [1]}])
def test_a_file_that_says_something_else_of_its_tensors_is_refused(tmp_path, said):
    state = {f"encoders.image.{name}": tensor.clone() for name, tensor in Pair().state_dict().items()}
    path = bundle_with(tmp_path, save(state, metadata={"model": json.dumps(said)}))
    with pytest.raises(BundleIntegrityError, match=r"weights/model\.safetensors"):
        state_dict_from_bundle(path, "image")


def test_a_bundle_with_a_changed_byte_gives_no_weights(extended, tmp_path):
    data = bytearray((extended / WEIGHTS).read_bytes())
    path = bundle_with(tmp_path, bytes(data))
    data[-1] ^= 1
    (path / WEIGHTS).write_bytes(data)
    with pytest.raises(BundleIntegrityError, match="SHA-256"):
        state_dict_from_bundle(path, "image")


def test_a_modality_or_a_part_that_is_not_there_is_named_with_what_is(extended):
    with pytest.raises(UnsupportedModuleError, match=r"'imag'.*did you mean 'image'.*give one of image"):
        state_dict_from_bundle(extended, "imag")
    with pytest.raises(UnsupportedModuleError, match=r"did you mean 'encoders.image.blocks.1'"):
        state_dict_from_bundle(extended, "image", part="block.1")
