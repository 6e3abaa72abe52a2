"""Frames that are decoded and never seen."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from onepath.contract.errors import PayloadError
from onepath.modalities.video_packets import frames_in_packet
from tests.modalities.media_files import processor
from tests.modalities.video_bombs import with_packets
from tests.modalities.video_files import clip_file, moving

HEADER, FRAME, TILES, PADDING = 3, 6, 4, 15
CLIP = clip_file(moving(20, 64, 64), "libsvtav1", preset="12")


def unit(kind, content=b"\0", *, extension=b""):
    """Return a unit of AV1 with its length, of one byte, or of two from 128 on."""
    length = len(content)
    written = bytes([length]) if length < 128 else bytes([0x80 | length & 0x7F, length >> 7])
    return bytes([kind << 3 | (4 if extension else 0) | 2]) + extension + written + content


def packets(payload):
    with av.open(io.BytesIO(payload)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def decoded(payload, **limits):
    return processor("video", {"frames": 20, "height": 64, "width": 64, "stride": 1}, **limits).decode(payload)


def with_hidden(times):
    """Return the clip with the hidden frame of one of its packets many times more."""
    every = packets(CLIP)
    place = next(place for place, packet in enumerate(every) if frames_in_packet(packet, "av1") > 1 and place)
    packet = every[place]
    assert packet[0] == FRAME << 3 | 2
    length = packet[1] if packet[1] < 128 else (packet[1] & 0x7F) + (packet[2] << 7)
    hidden = packet[: 2 + (packet[1] >= 128) + length]
    return with_packets(CLIP, [*every[:place], hidden * times + packet, *every[place + 1 :]])


def test_frames_of_a_packet_are_counted():
    packet = unit(2, b"") + unit(FRAME, bytes(300)) + unit(HEADER) + unit(TILES, bytes(9)) + unit(FRAME)
    assert frames_in_packet(packet, "av1") == 3
    assert frames_in_packet(packet + unit(FRAME, extension=b"\x08") + unit(PADDING), "av1") == 4
    assert frames_in_packet(packet + bytes([FRAME << 3]) + bytes(50), "av1") == 4  # the last needs no length


def test_a_packet_without_a_frame_of_its_own_counts_as_one():
    assert frames_in_packet(unit(2, b""), "av1") == 1


@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg4", "vp8", "vp9", "gif"])
def test_a_packet_of_another_codec_is_one_frame(codec):
    assert frames_in_packet(unit(FRAME) * 9, codec) == 1


@pytest.mark.parametrize("packet", [unit(FRAME) * 33, unit(PADDING) * 1025, b"\x32" + b"\xff" * 9])
def test_a_packet_of_absurdly_many_parts_is_refused(packet):
    with pytest.raises(PayloadError) as caught:
        frames_in_packet(packet, "av1")
    assert caught.value.code == "corrupt"


def test_as_many_frames_as_an_encoder_may_write_are_counted():
    assert frames_in_packet(unit(FRAME) * 32, "av1") == 32
    assert frames_in_packet(unit(PADDING) * 1024, "av1") == 1


def test_hidden_frames_of_an_encoder_are_counted():
    assert 20 < sum(frames_in_packet(packet, "av1") for packet in packets(CLIP)) <= 40


def test_hidden_frames_take_from_the_limit_of_what_is_decoded():
    limit = {"max_decoded_pixels": 40 * 64 * 64}
    assert decoded(CLIP, **limit).any()
    assert np.array_equal(decoded(with_hidden(25)), decoded(CLIP))
    with pytest.raises(PayloadError) as caught:
        decoded(with_hidden(25), **limit)
    assert caught.value.code == "too_much_to_decode"


def test_a_packet_of_very_many_hidden_frames_is_refused():
    with pytest.raises(PayloadError) as caught:
        decoded(with_hidden(5000))
    assert caught.value.code == "corrupt"
