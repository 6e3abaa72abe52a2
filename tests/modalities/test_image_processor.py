"""What an image becomes."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageFile

from onepath.contract.errors import PayloadError
from onepath.modalities.image_header import header_from_payload
from tests.modalities.media_files import image_file, noise, png_chunk, png_file, processor

# A 3 x 2 picture whose six pixels all differ, so that every turn of it is another picture.
PICTURE = np.array([[0, 50, 100], [150, 200, 250]], dtype=np.uint8)
SEEN = {
    1: [[0, 50, 100], [150, 200, 250]],
    2: [[100, 50, 0], [250, 200, 150]],
    3: [[250, 200, 150], [100, 50, 0]],
    4: [[150, 200, 250], [0, 50, 100]],
    5: [[0, 150], [50, 200], [100, 250]],
    6: [[150, 0], [200, 50], [250, 100]],
    7: [[250, 100], [200, 50], [150, 0]],
    8: [[100, 250], [50, 200], [0, 150]],
}


def grey(height, width, payload, **settings):
    return processor("image", {"height": height, "width": width, "channels": 1, **settings}).decode(payload)[0]


def colour(payload, height=1, width=1, **settings):
    return processor("image", {"height": height, "width": width, **settings}).decode(payload)[:, 0, 0].tolist()


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


@pytest.mark.parametrize(("image_format", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
def test_a_lossless_image_of_the_models_size_keeps_every_pixel(image_format, options):
    pixels = noise(5, 7, 3)
    made = processor("image", {"height": 5, "width": 7}).decode(image_file(pixels, image_format, **options))
    assert made.dtype == np.uint8
    assert np.array_equal(made, pixels.transpose(2, 0, 1))


def test_a_changed_pixel_changes_the_result():
    pixels = noise(5, 7, 3)
    pixels[4, 6, 2] ^= 1
    made = processor("image", {"height": 5, "width": 7}).decode(image_file(pixels))
    assert not np.array_equal(made, noise(5, 7, 3).transpose(2, 0, 1))


def test_a_jpeg_keeps_its_colours_within_its_loss():
    assert np.allclose(colour(image_file(np.full((16, 16, 3), (200, 30, 90)), "JPEG")), (200, 30, 90), atol=3)


def test_a_gif_gives_its_first_frame():
    first, second = (Image.new("L", (4, 4), level) for level in (40, 220))
    assert (grey(4, 4, image_file(first, "GIF", save_all=True, append_images=[second])) == 40).all()


def test_the_row_is_contiguous_and_owns_no_more_than_its_pixels():
    made = processor("image", {"height": 4, "width": 4}).decode(image_file(noise(4, 4, 3)))
    assert made.flags.c_contiguous


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_exif_orientation_is_applied(orientation, image_format):
    seen = np.array(SEEN[orientation])
    payload = image_file(
        PICTURE, image_format, exif=exif(orientation), **({"lossless": True} if image_format == "WEBP" else {})
    )
    assert np.array_equal(grey(*seen.shape, payload), seen)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_left_out_would_be_seen(orientation):
    seen = np.array(SEEN[orientation])
    assert not np.array_equal(grey(*seen.shape, image_file(PICTURE)), seen)


def test_exif_orientation_of_a_jpeg_is_applied():
    halves = np.zeros((32, 32), dtype=np.uint8)
    halves[:16] = 255  # bright above; orientation 6 turns it clockwise, so that it is seen on the right
    made = grey(2, 2, image_file(halves, "JPEG", exif=exif(6), quality=95), resample="box")
    assert np.allclose(made, [[0, 255], [0, 255]], atol=3)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_unknown_orientation_turns_nothing(orientation):
    assert np.array_equal(grey(2, 3, image_file(PICTURE, exif=exif(orientation))), PICTURE)


def test_unreadable_exif_turns_nothing():
    rows = b"".join(b"\0" + row.tobytes() for row in PICTURE)
    payload = png_file(3, 2, rows, chunks=png_chunk(b"eXIf", b"not a TIFF header"))
    assert np.array_equal(grey(2, 3, payload), PICTURE)


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    levels = np.array([0, 128, 129, 256, 257, 32768, 65407, 65535])
    rows = b"\0" + levels.astype(">u2").tobytes()
    made = grey(1, len(levels), png_file(len(levels), 1, rows, depth=16))[0]
    assert made.tolist() == [round(level * 255 / 65535) for level in levels.tolist()]
    assert made.tolist() != np.minimum(levels, 255).tolist()


def test_sixteen_bit_colour_is_within_one_level_of_its_scaled_value():
    levels = np.array([300, 32768, 65535], dtype=">u2")
    made = colour(png_file(1, 1, b"\0" + levels.tobytes(), depth=16, colour=2))
    assert np.abs(np.array(made) - levels / 257.0).max() < 1


def test_sixteen_bit_grey_lets_its_transparent_level_through():
    rows = b"\0" + np.array([257 * 10, 257 * 20], dtype=">u2").tobytes()
    payload = png_file(2, 1, rows, depth=16, chunks=png_chunk(b"tRNS", struct.pack(">H", 257 * 20)))
    assert grey(1, 2, payload, background=(99, 99, 99)).tolist() == [[10, 99]]


@pytest.mark.parametrize(
    ("mode", "level", "wanted"),
    [
        ("1", 1, [255, 255, 255]),
        ("L", 77, [77, 77, 77]),
        ("LA", (77, 255), [77, 77, 77]),
        ("RGB", (10, 20, 30), [10, 20, 30]),
        ("RGBA", (10, 20, 30, 255), [10, 20, 30]),
        ("I;16", 257 * 77, [77, 77, 77]),
    ],
)
def test_every_png_mode_gives_its_colour(mode, level, wanted):
    assert colour(image_file(Image.new(mode, (2, 2), level))) == wanted


def test_a_palette_gives_the_colours_it_names():
    image = Image.new("P", (2, 1))
    image.putpalette([1, 2, 3, 200, 100, 50])
    image.putpixel((0, 0), 1)
    assert colour(image_file(image), width=2) == [200, 100, 50]


def test_cmyk_becomes_red_green_blue():
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    assert np.allclose(colour(image_file(cyan, "JPEG", quality=100)), (0, 255, 255), atol=3)


def test_grey_is_the_luminance_of_bt_601():
    made = grey(1, 1, image_file(np.array([[[200, 100, 50]]])))
    assert made.item() == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)


@pytest.mark.parametrize(("alpha", "background"), [(0, 255), (64, 255), (128, 0), (255, 0)])
def test_alpha_is_composited_onto_the_background(alpha, background):
    made = colour(image_file(np.array([[[200, 100, 0, alpha]]])), background=(background,) * 3)
    wanted = [value * alpha / 255 + background * (1 - alpha / 255) for value in (200, 100, 0)]
    assert np.allclose(made, wanted, atol=1)


def test_a_transparent_palette_entry_lets_the_background_through():
    image = Image.new("P", (1, 1))
    image.putpalette([200, 100, 50])
    assert colour(image_file(image, transparency=0), background=(1, 2, 3)) == [1, 2, 3]


def test_box_scaling_is_the_mean_of_the_pixels():
    pixels = noise(4, 4)
    wanted = pixels.reshape(2, 2, 2, 2).mean(axis=(1, 3))
    assert np.allclose(grey(2, 2, image_file(pixels), resample="box"), wanted, atol=1)
    assert not np.allclose(grey(2, 2, image_file(pixels), resample="nearest"), wanted, atol=1)


@pytest.mark.parametrize("resample", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_every_filter_keeps_a_flat_image_flat(resample):
    assert (grey(3, 11, image_file(np.full((7, 5), 123)), resample=resample) == 123).all()


def bars():
    """Two rows of three squares, side by side: dark, middle, bright."""
    return np.repeat([[0, 128, 255]], 4, axis=0).repeat(4, axis=1)


def test_stretch_shows_the_whole_width():
    assert grey(1, 3, image_file(bars()), resample="box").tolist() == [[0, 128, 255]]


def test_crop_shows_the_centre():
    assert (grey(4, 4, image_file(bars()), fit="crop") == 128).all()


def test_pad_shows_everything_between_background():
    made = grey(6, 6, image_file(bars()), fit="pad", resample="box", background=(9, 9, 9))
    assert made[:, 1].tolist() == [9, 9, 0, 0, 9, 9]
    assert made[2].tolist() == [0, 0, 128, 128, 255, 255]


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 30_000), (30_000, 1)])
def test_every_fit_takes_extreme_aspect_ratios(fit, shape):
    assert (grey(8, 8, image_file(np.full(shape, 255)), fit=fit) == 255).all()


def test_sizes_are_refused_before_a_pixel_is_decoded():
    rows = b"this is not even zlib"
    with pytest.raises(PayloadError) as caught:
        processor("image", {"height": 4, "width": 4}, max_pixels=100).decode(png_file(11, 10, rows))
    assert caught.value.code == "too_many_pixels"


@pytest.mark.parametrize(("shape", "accepted"), [((1, 50), False), ((50, 1), False), ((2, 50), True)])
def test_a_side_shorter_than_the_limit_is_refused(shape, accepted):
    decoder = processor("image", {"height": 4, "width": 4}, min_side=2)
    if accepted:
        assert decoder.decode(image_file(np.zeros(shape))).shape == (3, 4, 4)
        return
    with pytest.raises(PayloadError) as caught:
        decoder.decode(image_file(np.zeros(shape)))
    assert caught.value.code == "too_small"


def test_as_many_pixels_as_the_limit_are_accepted():
    made = processor("image", {"height": 4, "width": 4}, max_pixels=100).decode(image_file(noise(10, 10)))
    assert made.shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("image_format", "options"), [("GIF", {}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("WEBP", {"exif": exif(1)})]
)
def test_the_header_tells_the_size_without_a_decoder(image_format, options):
    assert header_from_payload(image_file(noise(19, 33, 3), image_format, **options)).size == (33, 19)


def test_pillows_settings_stay_as_they_were():
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, dict(Image.OPEN))
    processor("image", {"height": 4, "width": 4}).decode(image_file(noise(10, 10)))
    with pytest.raises(PayloadError):
        processor("image", {"height": 4, "width": 4}).decode(image_file(noise(10, 10))[:80])
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, dict(Image.OPEN)) == before


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_an_image_cut_anywhere_is_refused_or_has_lost_nothing(image_format):
    decoder = processor("image", {"height": 9, "width": 9})
    payload = image_file(noise(9, 9, 3), image_format)
    whole = decoder.decode(payload)
    refused = 0
    for length in range(1, len(payload)):
        try:
            assert np.array_equal(decoder.decode(payload[:length]), whole)
        except PayloadError:
            refused += 1
    assert refused > 0.85 * len(payload)


def test_pillow_itself_agrees_on_a_photo_like_image():
    pixels = np.add.outer(np.arange(60), np.arange(80)).astype(np.uint8)
    payload = image_file(pixels, "JPEG")
    wanted = np.asarray(Image.open(io.BytesIO(payload)).resize((16, 12), Image.Resampling.BICUBIC))
    assert np.array_equal(grey(12, 16, payload, resample="bicubic"), wanted)
