"""The transformers: sizes and token counts as published, timm's ViT exactly, and pathways that act in every form."""

import numpy as np
import pytest
import torch
from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.presets import audio_preset, image_preset, point_preset, video_preset
from onepath.merging.presets.tokenizers import image_patches, spectrogram_patches, tubelets
from onepath.merging.presets.transformer import DropPath, TransformerSettings
from onepath.merging.presets.vision_transformer import VisionForm, VisionTransformer

WIDTH, DEPTH = 768, 12
BLOCK = 3 * WIDTH**2 + 3 * WIDTH + WIDTH**2 + WIDTH + 8 * WIDTH**2 + 5 * WIDTH + 4 * WIDTH
"""Parameters of a ViT-B block: qkv and proj, an MLP four times as wide, two layer norms."""


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def on_meta(preset, **settings):
    with torch.device("meta"):
        return preset("base", **settings).model


def vit_b(pooling: str) -> VisionTransformer:
    patches = image_patches((224, 224))
    return VisionTransformer(
        nn.Identity(), patches, TransformerSettings(), classes=1000, form=VisionForm(pooling=pooling)
    )


def test_a_vit_b_has_as_many_parameters_as_published() -> None:
    with torch.device("meta"):
        assert count(vit_b("class")) == 86_567_656


def test_the_audio_transformer_has_one_channel_a_table_of_513_positions_and_527_outputs() -> None:
    expected = 16 * 16 * WIDTH + WIDTH + WIDTH + 513 * WIDTH + DEPTH * BLOCK + 2 * WIDTH + 527 * WIDTH + 527
    assert count(on_meta(audio_preset)) == expected


def test_the_video_transformer_has_no_key_bias_no_class_token_and_no_table() -> None:
    expected = 3 * 2 * 16 * 16 * WIDTH + WIDTH + DEPTH * (BLOCK - WIDTH) + 2 * WIDTH + 400 * WIDTH + 400
    assert count(on_meta(video_preset)) == expected


def test_the_point_transformer_has_a_pointnet_a_position_mlp_and_a_head_of_three_layers() -> None:
    pointnet = (3 + 1) * 128 + 2 * 128 + (128 + 1) * 256 + (512 + 1) * 512 + 2 * 512 + (512 + 1) * WIDTH
    positions = (3 + 1) * 128 + (128 + 1) * WIDTH + 2 * WIDTH
    head = (2 * WIDTH + 1) * 256 + 2 * 256 + (256 + 1) * 256 + 2 * 256 + (256 + 1) * 40
    expected = pointnet + positions + DEPTH * (BLOCK - 3 * WIDTH) + 2 * WIDTH + head
    assert count(on_meta(point_preset)) == expected


@pytest.mark.parametrize(
    ("tokenizer", "shape", "tokens"),
    [
        (lambda: image_patches((224, 224)), (3, 224, 224), 196),
        (lambda: spectrogram_patches((1024, 128)), (1, 1024, 128), 512),
        (lambda: spectrogram_patches((1024, 128), stride=10), (1, 1024, 128), 1212),
        (lambda: spectrogram_patches((512, 128)), (1, 512, 128), 256),
        (lambda: tubelets((16, 224, 224)), (3, 16, 224, 224), 1568),
    ],
    ids=["image", "audio", "audio, overlapping", "ESC-50", "video"],
)
def test_a_tokenizer_gives_as_many_tokens_as_published(tokenizer, shape, tokens) -> None:
    with torch.device("meta"):
        patches = tokenizer()
        assert patches(torch.zeros(2, *shape)).shape == (2, tokens, WIDTH)
    assert patches.count == tokens


def test_a_token_of_a_spectrogram_is_a_time_then_a_frequency() -> None:
    patches = spectrogram_patches((32, 48), width=4)
    values = torch.zeros(1, 1, 32, 48)
    values[:, :, 16:32, 32:48] = 1.0  # second time, third frequency
    moved = (patches(values) - patches(torch.zeros_like(values))).abs().sum(dim=2)[0]
    assert torch.nonzero(moved).flatten().tolist() == [5]


def test_values_without_a_whole_patch_are_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match="no whole patch"):
        image_patches((8, 32), patch=16)


@pytest.fixture(scope="module")
def timm_vit(vision_ops):
    import timm

    torch.manual_seed(0)
    return timm.models.VisionTransformer


@pytest.mark.parametrize("pooling", ["class", "mean"])
@torch.no_grad()
def test_with_timms_weights_it_gives_what_timms_vit_gives(timm_vit, pooling) -> None:
    torch.manual_seed(0)
    theirs = timm_vit(
        img_size=32,
        patch_size=8,
        embed_dim=64,
        depth=3,
        num_heads=4,
        num_classes=10,
        global_pool="token" if pooling == "class" else "avg",
    )
    for parameter in theirs.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.1)
    ours = VisionTransformer(
        nn.Identity(),
        image_patches((32, 32), patch=8, width=64),
        TransformerSettings(64, 3, 4),
        classes=10,
        form=VisionForm(pooling=pooling),
    )
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs, ours = theirs.double().eval(), ours.double().eval()
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-10, atol=1e-10)
    ours.blocks[1].norm1.eps = 1e-5
    assert (ours(images) - theirs(images)).abs().max() > 1e-8


def test_the_point_transformer_adds_positions_before_every_block() -> None:
    model = on_small_points()
    groups = torch.randn(2, 6, 5, 3, dtype=torch.float64)
    tokens = torch.cat([model.cls_token.expand(2, -1, -1), model.tokenizer(groups[:, :, 1:])], dim=1)
    positions = torch.cat([model.cls_pos.expand(2, -1, -1), model.pos_embed(groups[:, :, 0])], dim=1)
    for block in model.blocks:
        tokens = block(tokens + positions)
    normed = model.norm(tokens)
    expected = model.head(torch.cat([normed[:, 0], normed[:, 1:].max(dim=1).values], dim=1))
    torch.testing.assert_close(model(groups), expected, rtol=1e-12, atol=1e-12)


def on_small_points() -> nn.Module:
    torch.manual_seed(0)
    return point_preset("micro", classes=4).model.double().eval()


@torch.no_grad()
def test_a_cloud_may_list_its_groups_and_their_points_in_any_order() -> None:
    model, groups = on_small_points(), torch.randn(1, 6, 5, 3, dtype=torch.float64)
    turned = groups[:, torch.randperm(6)][:, :, [0, *(1 + torch.randperm(4)).tolist()]]
    torch.testing.assert_close(model(turned), model(groups), rtol=1e-10, atol=1e-12)
    assert (model(groups[:, :, [1, 0, 2, 3, 4]]) - model(groups)).abs().max() > 1e-6  # the centre is told apart


def test_the_video_head_starts_at_a_thousandth() -> None:
    model = video_preset("micro").model
    bound = 0.001 * (6 / (64 + 400)) ** 0.5  # of Glorot's uniform rule
    assert 0.99 * bound < model.head.weight.abs().max() <= bound


@pytest.mark.parametrize("rows", [1, 4000])
def test_a_left_out_branch_is_made_up_for_on_average(rows) -> None:
    torch.manual_seed(0)
    branch = torch.ones(rows, 2, 3)
    drop = DropPath(0.25)
    dropped = drop(branch)
    assert set(dropped.flatten().tolist()) <= {0.0, float(torch.tensor(1 / 0.75))}
    assert (dropped == dropped[:, :1, :1]).all()  # a row is left out as a whole
    if rows > 1:
        assert abs(dropped.mean() - 1) < 0.05
    assert drop.eval()(branch) is branch


def test_the_rate_of_leaving_out_grows_to_the_last_block() -> None:
    blocks = image_preset("micro", side=32, patch=8, drop_path=0.3).model.blocks
    np.testing.assert_allclose([block.drop_path.rate for block in blocks], [0.0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize(("field", "value"), [("heads", 5), ("depth", 0), ("drop_path", 1.0), ("width", -4)])
def test_sizes_that_make_no_transformer_are_refused(field, value) -> None:
    with pytest.raises(UnsupportedModuleError, match="transformer's settings"):
        TransformerSettings(**({"width": 64, "depth": 2, "heads": 4} | {field: value}))
