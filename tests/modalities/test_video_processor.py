"""What a video becomes."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import time

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from onepath.contract.errors import PayloadError
from onepath.modalities.video_picture import image_from_frame
from tests.modalities.media_files import image_file, noise, processor
from tests.modalities.video_bombs import index_of, with_tracks
from tests.modalities.video_files import (
    clip_file,
    gif_file,
    index_first,
    levels,
    moving,
    plane_file,
    referring_file,
    turned_file,
)

CONTAINERS = [
    ("libx264", "mp4"),
    ("mpeg4", "mp4"),
    ("libvpx-vp9", "mp4"),
    ("libvpx", "webm"),
    ("libvpx-vp9", "webm"),
    ("gif", "gif"),
]
TURNS = {
    (-1, 0, 0, 1): lambda pixels: pixels[:, ::-1],
    (1, 0, 0, -1): lambda pixels: pixels[::-1],
    (-1, 0, 0, -1): lambda pixels: np.rot90(pixels, 2),
    (0, 1, -1, 0): lambda pixels: np.rot90(pixels, -1),  # clockwise, as phones that are held upright write
    (0, -1, 1, 0): np.rot90,
    (0, 1, 1, 0): lambda pixels: pixels.swapaxes(0, 1),
    (0, -1, -1, 0): lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
}


def decoded(payload, frames, height=16, width=16, limits=None, **settings):
    """Return the row as `(frames, height, width, channels)`."""
    full = {"frames": frames, "height": height, "width": width, "stride": 1, **settings}
    return processor("video", full, **(limits or {})).decode(payload).transpose(1, 2, 3, 0)


def code(payload, frames=4, **settings):
    with pytest.raises(PayloadError) as caught:
        decoded(payload, frames, **settings)
    return caught.value.code


def packets(payload):
    with av.open(io.BytesIO(payload)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def test_a_lossless_clip_of_the_models_size_keeps_every_pixel():
    frames = noise(6, 9, 11, 3)
    made = processor("video", {"frames": 6, "stride": 1, "height": 9, "width": 11}).decode(clip_file(frames))
    assert (made.dtype, made.shape) == (np.uint8, (3, 6, 9, 11))
    assert np.array_equal(made, frames.transpose(3, 0, 1, 2))


def test_a_changed_pixel_changes_the_result():
    frames = noise(6, 9, 11, 3)
    changed = frames.copy()
    changed[5, 8, 10, 2] ^= 1
    assert not np.array_equal(decoded(clip_file(changed), 6, 9, 11), frames)


@pytest.mark.parametrize(("codec", "container"), CONTAINERS)
def test_every_codec_gives_the_chosen_frames(codec, container):
    frames = levels(24, step=10)
    made = decoded(clip_file(frames, codec, container), 4, stride=4)[:, 8, 8, 0].astype(int)
    wanted = frames[[4, 9, 14, 19], 8, 8, 0]
    assert np.abs(made - wanted).max() <= (18 if codec == "gif" else 3)  # GIF has a palette of 8 levels of red
    assert np.abs(made[1:] - wanted[:-1]).min() > 18


def test_av1_is_read():
    frames = levels(16, 64, 64, step=10)
    made = decoded(clip_file(frames, "libsvtav1", preset="12"), 4, stride=4)[:, 8, 8, 0].astype(int)
    assert np.abs(made - frames[[0, 5, 10, 15], 8, 8, 0]).max() <= 3


GROUPS = {
    "closed": ("libx264", {}),
    "with frames that are shown before the key frame they follow": ("mpeg4", {"b_frames": 2}),
    "open": ("libx264", {"preset": "medium", "x264-params": "open-gop=1:bframes=3:b-adapt=0"}),
    "open, of HEVC": ("libx265", {"x265-params": "open-gop=1:bframes=3:keyint=6:min-keyint=6:log-level=none"}),
}


@pytest.mark.parametrize("kind", GROUPS)
@pytest.mark.parametrize("group", [4, 7, 100])
def test_frames_are_the_same_wherever_decoding_begins(kind, group):
    codec, options = GROUPS[kind]
    payload = clip_file(moving(40, 16, 24), codec, group=group, **options)
    with av.open(io.BytesIO(payload)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    for window in (3, 10, 25, 40):
        start = (40 - window) // 2
        places = [start + min(index * window // (window - 1), window - 1) for index in range(window)]
        assert np.array_equal(decoded(payload, window, width=24), frames[places])


def test_only_what_is_needed_is_decoded():
    frames = levels(40)
    cheap = {"max_decoded_pixels": 15 * 16 * 16}
    assert decoded(clip_file(frames, group=4), 4, limits=cheap).shape == (4, 16, 16, 3)
    assert code(clip_file(frames, group=1000), limits=cheap) == "too_much_to_decode"


def test_frames_are_counted_and_not_timed():
    frames = levels(8)
    assert np.array_equal(decoded(clip_file(frames, times=[0, 1, 2, 3, 90, 91, 92, 99]), 8), frames)


def test_frames_that_an_edit_list_leaves_out_are_not_seen():
    payload = bytearray(clip_file(levels(12, step=10)))
    place = payload.find(b"elst") + 12
    struct.pack_into(">Ii", payload, place, 400, struct.unpack_from(">i", payload, place + 4)[0] + 3 * 1024)
    assert decoded(bytes(payload), 4, sampling="uniform")[:, 0, 0, 0].tolist() == [30, 40, 50, 60]


def test_a_frame_of_vp8_that_nobody_is_to_see_is_not_chosen():
    payload = clip_file(moving(12, 16, 16), "libvpx", "webm")
    fourth = packets(payload)[3]
    hidden = payload.replace(fourth, bytes([fourth[0] & ~0x10]) + fourth[1:])
    every, seen = (decoded(each, frames, sampling="uniform") for each, frames in ((payload, 12), (hidden, 11)))
    assert np.array_equal(seen, np.delete(every, 3, axis=0))
    assert not np.array_equal(seen, every[:11])


def test_a_short_clip_repeats_its_last_frame():
    frames = levels(3, step=50)
    assert np.array_equal(decoded(clip_file(frames), 5), frames[[0, 1, 2, 2, 2]])


def test_a_short_clip_can_be_stretched():
    frames = levels(2, step=50)
    assert np.array_equal(decoded(clip_file(frames), 4, short="stretch"), frames[[0, 0, 1, 1]])


def test_a_clip_of_one_frame_fills_the_row():
    frames = noise(1, 16, 16, 3)
    assert np.array_equal(decoded(clip_file(frames), 3), frames[[0, 0, 0]])


@pytest.mark.parametrize("matrix", TURNS)
def test_the_display_matrix_is_applied(matrix):
    frames = noise(2, 5, 8, 3)
    seen = np.stack([TURNS[matrix](pixels) for pixels in frames])
    assert np.array_equal(decoded(turned_file(clip_file(frames), *matrix), 2, *seen.shape[1:3]), seen)


@pytest.mark.parametrize("matrix", TURNS)
def test_a_display_matrix_left_out_would_be_seen(matrix):
    frames = noise(2, 5, 8, 3)
    seen = np.stack([TURNS[matrix](pixels) for pixels in frames])
    assert not np.array_equal(decoded(clip_file(frames), 2, *seen.shape[1:3]), seen)


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (0, -1, 1, 0), (-1, 0, 0, -1)])
def test_a_turn_is_seen_beside_data_that_pyav_does_not_know(matrix):
    class Frame:
        """A frame whose side data cannot be listed, as those of spatial video."""

        def __init__(self, frame):
            self.format, self.rotation, self.to_ndarray = frame.format, frame.rotation, frame.to_ndarray

        @property
        def side_data(self):
            raise ValueError("31 is not a valid Type")

    pixels = noise(1, 5, 8, 3)
    with av.open(io.BytesIO(turned_file(clip_file(pixels), *matrix))) as container:
        image = image_from_frame(Frame(next(container.decode(video=0))))
    assert np.array_equal(np.asarray(image), TURNS[matrix](pixels[0]))


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_frame_is_scaled_as_the_image_processor_scales_it(fit, channels):
    frames = noise(3, 21, 33, 3)
    settings = {"height": 8, "width": 9, "fit": fit, "channels": channels, "background": (1, 2, 3)}
    image = processor("image", settings)
    made = processor("video", {"frames": 3, "stride": 1, **settings}).decode(clip_file(frames))
    assert np.array_equal(made, np.stack([image.decode(image_file(pixels)) for pixels in frames], axis=1))


@pytest.mark.parametrize(
    ("colour", "kr", "kb"), [(None, 0.299, 0.114), ("smpte170m", 0.299, 0.114), ("bt709", 0.2126, 0.0722)]
)
def test_colours_are_those_of_the_matrix_that_the_stream_names(colour, kr, kb):
    y, u, v = (120 - 16) / 219, (90 - 128) / 224, (170 - 128) / 224
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    made = decoded(plane_file(120, 90, 170, colour=colour), 1)[0, 8, 8]
    assert np.allclose(made, np.array([red, green, blue]) * 255, atol=2)


def test_the_two_matrices_are_told_apart():
    one, other = (decoded(plane_file(120, 90, 170, colour=colour), 1) for colour in ("smpte170m", "bt709"))
    assert np.abs(one.astype(int) - other).max() > 5


def patches(**options):
    """Return a GIF whose frames change a part of the picture before, and what Pillow makes of it."""
    images = [Image.new("RGBA", (12, 10), (200, 0, 0, 255))]
    for step in range(1, 6):
        image = images[-1].copy()
        image.paste((0, 40 * step, 255, 255), (step, step, step + 3, step + 3))
        images.append(image)
    payload = gif_file(images, **options)
    seen = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(Image.open(io.BytesIO(payload)))]
    return payload, np.stack(seen)


@pytest.mark.parametrize("disposal", [0, 1])
def test_a_gif_whose_frames_are_patches_gives_whole_pictures(disposal):
    payload, seen = patches(disposal=disposal)
    assert np.array_equal(decoded(payload, 6, 10, 12), seen)
    assert np.array_equal(decoded(payload, 2, 10, 12), seen[[2, 3]])


def test_what_is_transparent_in_a_gif_lets_the_background_through():
    clear = Image.new("P", (4, 4))
    clear.putpalette([200, 100, 50, 9, 9, 9])
    clear.paste(1, (0, 0, 2, 4))
    made = decoded(gif_file([clear], transparency=0), 1, 4, 4, background=(1, 2, 3))
    assert made[0, 0].tolist() == [[9, 9, 9], [9, 9, 9], [1, 2, 3], [1, 2, 3]]


@pytest.mark.parametrize(
    ("container", "muxer"), [("mp4", {"movflags": "frag_keyframe+empty_moov"}), ("webm", {"live": "1"})]
)
def test_a_clip_that_was_written_as_a_stream_is_read(container, muxer):
    codec = "libx264rgb" if container == "mp4" else "libvpx"
    made = decoded(clip_file(levels(10, step=20), codec, container, muxer=muxer), 10)
    assert np.abs(made[:, 8, 8, 0].astype(int) - 20 * np.arange(10)).max() <= 3


def cuts(payload):
    return sorted({*range(1, len(payload), max(1, len(payload) // 60)), len(payload) - 1})


@pytest.mark.parametrize(("codec", "container"), CONTAINERS)
def test_a_clip_cut_anywhere_is_refused(codec, container):
    payload = clip_file(moving(6, 16, 16), codec, container)
    assert decoded(payload, 3).any()
    for length in cuts(payload):
        assert code(payload[:length], 3) in ("truncated", "corrupt", "unsupported_format")


def test_a_clip_whose_index_comes_first_is_refused_when_cut():
    payload = index_first(clip_file(moving(6, 16, 16)))
    assert decoded(payload, 3).any()
    assert {code(payload[:length], 3) for length in cuts(payload)[-30:]} == {"truncated"}


def test_a_clip_whose_samples_lie_beyond_its_end_is_refused():
    payload = bytearray(clip_file(moving(6, 16, 16)))
    struct.pack_into(">I", payload, payload.find(b"stco") + 12, len(payload) + 1000)
    assert code(bytes(payload), 3) == "truncated"


def test_an_address_in_an_mp4_is_not_called():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        payload = referring_file(clip_file(levels(4)), f"http://127.0.0.1:{server.getsockname()[1]}/clip.mp4")
        with contextlib.suppress(PayloadError):
            decoded(payload, 4)
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize("start", [b"", b"\0\0\0\x18ftypisom", b"\0\0\0\x10ftypisom\0\0\0\0isom"])
def test_a_playlist_is_no_video_however_it_begins(start, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(clip_file(levels(4)))
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n" + str(tmp_path / "clip.mp4").encode() + b"\n"
    assert code(start + playlist) in ("unsupported_format", "truncated", "corrupt")


def test_a_script_that_joins_files_is_no_video():
    assert code(b"ffconcat version 1.0\nfile clip.mp4\n") == "unsupported_format"


def test_a_frame_that_is_overwritten_is_refused_wherever_that_is():
    payload = clip_file(moving(6, 64, 64), "libx264")
    third = packets(payload)[2]
    places = range(30, len(third) - 64, 3)
    damaged = [payload.replace(third, third[:place] + b"\xff" * 64 + third[place + 64 :]) for place in places]
    refused = 0
    for each in damaged:
        with contextlib.suppress(PayloadError):
            decoded(each, 6, 64, 64)
            continue
        refused += 1
    assert refused > 0.9 * len(places)  # without a look at how sure the decoder is of a frame, it is a third


def test_what_a_decoder_would_step_over_is_refused():
    payload = clip_file(moving(6, 16, 16), "libx264")
    start = payload.find(b"mdat") + 4
    assert payload[start + 4 : start + 8] == b"\x06\x05\xff\xff"  # the encoder's settings, of more than 510 bytes
    assert code(payload[: start + 6] + b"\x7f" + payload[start + 7 :], 6) == "corrupt"


def test_sound_of_very_many_packets_is_not_read_through():
    payload = with_tracks(clip_file(moving(6, 16, 16), "libx264"), index_of(600_000), 1, sound=True)
    payload += struct.pack(">I4s", 600_008, b"free") + bytes(600_000)
    start = time.perf_counter()
    assert code(payload) == "corrupt"
    assert time.perf_counter() - start < 3
    assert decoded(with_tracks(clip_file(moving(6, 16, 16), "libx264"), index_of(600), 1, sound=True), 4).any()


@pytest.mark.parametrize(("start", "block"), [(b"!\xfe", b"\1a"), (b"", b"!\xfe\0")])
def test_a_gif_of_very_many_blocks_is_refused_at_once(start, block):
    payload = gif_file([Image.new("RGB", (4, 4))])
    blocks = start + block * (60_000_000 // len(block)) + b"\0"
    began = time.perf_counter()
    assert code(payload[:-1] + blocks + b";") == "corrupt"
    assert time.perf_counter() - began < 1


def test_a_damaged_clip_is_silent(capfd):
    before = av.logging.get_level()
    payload = bytearray(clip_file(moving(6, 16, 16), "libx264"))
    start = payload.find(b"mdat") + 800
    payload[start : start + 60] = bytes(60)
    assert code(bytes(payload), 3) == "corrupt"
    assert capfd.readouterr() == ("", "")
    assert av.logging.get_level() is before


@pytest.mark.parametrize("limit", ["max_frames", "max_seconds", "max_pixels", "max_side"])
def test_a_clip_at_a_limit_is_accepted_and_beyond_it_refused(limit):
    codes = {
        "max_frames": ("too_many_frames", 12, 11),
        "max_seconds": ("too_long", 1.2, 1.15),
        "max_pixels": ("too_many_pixels", 17 * 23, 17 * 23 - 1),
        "max_side": ("side_too_long", 23, 22),
    }
    refusal, enough, too_little = codes[limit]
    for payload in (clip_file(levels(12, 17, 23)), clip_file(levels(12, 17, 23), "libvpx", "webm")):
        assert decoded(payload, 4, limits={limit: enough}).shape == (4, 16, 16, 3)
        assert code(payload, limits={limit: too_little}) == refusal
