"""How long an index FFmpeg would make of the boxes of an MP4."""

from __future__ import annotations

import struct

import pytest

from onepath.contract.errors import PayloadError
from onepath.modalities.video_header import check_whole
from onepath.modalities.video_index import entries_from_boxes
from tests.modalities.video_files import clip_file, levels, sound_in_mp4


def counted(name, count, *, before=0, after=b""):
    """Return a box that announces a number behind its version, flags and other bytes."""
    content = bytes(4 + before) + struct.pack(">I", count) + after
    return struct.pack(">I", 8 + len(content)) + name + content


def index_alone(boxes):
    return struct.pack(">I", 8 + len(boxes)) + b"moov" + boxes


def chunk_lengths(*lengths):
    return counted(b"stsc", len(lengths), after=b"".join(struct.pack(">III", 1, each, 1) for each in lengths))


@pytest.mark.parametrize(("name", "before"), [(b"stsz", 4), (b"stz2", 4), (b"trun", 0)])
def test_every_announced_sample_has_an_entry(name, before):
    assert entries_from_boxes(counted(name, 7_000_000, before=before)) == 7_000_000
    assert entries_from_boxes(counted(name, 7_000_001, before=before)) == 7_000_001


def test_the_entries_of_all_tracks_are_added():
    assert entries_from_boxes((b"\0\0\0\0trak" + counted(b"stsz", 100, before=4)) * 3) == 300


@pytest.mark.parametrize("name", [b"stco", b"co64"])
def test_a_chunk_has_an_entry_for_every_512_samples_of_the_longest(name):
    assert entries_from_boxes(chunk_lengths(3, 1 << 30, 5) + counted(name, 10)) == 10 << 21
    assert entries_from_boxes(chunk_lengths(3, 5) + counted(name, 10)) == 0


def test_the_lengths_of_one_tracks_chunks_say_nothing_of_anothers():
    assert entries_from_boxes(chunk_lengths(1 << 30) + b"trak" + counted(b"stco", 1000)) == 0


def test_every_edit_after_a_pause_can_repeat_every_sample():
    samples = counted(b"stsz", 100, before=4)
    edits = {count: entries_from_boxes(samples + counted(b"elst", count)) for count in (0, 1, 2, 3, 1000)}
    assert edits == {0: 100, 1: 100, 2: 100, 3: 200, 1000: 99_900}


def test_a_box_that_ends_early_announces_what_it_has():
    assert entries_from_boxes(b"stsz") == 0
    assert entries_from_boxes(chunk_lengths(1 << 30)[:-8] + counted(b"stco", 10)[:-4]) == 0


@pytest.mark.parametrize("name", [b"trak", b"stsz", b"stsc", b"elst"])
def test_a_file_of_very_many_boxes_is_refused(name):
    with pytest.raises(PayloadError, match="65,536"):
        entries_from_boxes(name * 65_537)
    assert entries_from_boxes(name * 3) >= 0


def test_an_ordinary_clip_and_ordinary_sound_have_short_indices():
    assert 12 <= entries_from_boxes(clip_file(levels(12))) < 100
    assert 8 <= entries_from_boxes(sound_in_mp4()) < 100


def test_two_minutes_of_sound_that_is_not_compressed_are_no_hindrance():
    pictures = b"trak" + counted(b"stsz", 7200, before=4)
    sound = b"trak" + counted(b"stsz", 120 * 48_000, before=4) + chunk_lengths(48_000) + counted(b"stco", 120)
    check_whole(index_alone(pictures + sound), "MP4")
    with pytest.raises(PayloadError, match="announces"):
        check_whole(index_alone(pictures + sound + sound), "MP4")
