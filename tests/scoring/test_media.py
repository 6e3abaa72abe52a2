import os

import pytest

from onepath.scoring.media import MediaFolder


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "seven.png").write_bytes(b"pixels")
    (tmp_path / "secret.png").write_bytes(b"secret")
    return root


def code(folder, name, **settings):
    found = MediaFolder(folder, **settings).read(name)
    return found if isinstance(found, bytes) else found.code


def test_a_relative_path_starts_at_the_folder(folder):
    assert code(folder, "seven.png") == b"pixels"


def test_an_absolute_path_is_itself(folder):
    assert code(folder / "elsewhere", str(folder / "seven.png")) == b"pixels"


@pytest.mark.parametrize("name", [None, ""])
def test_no_path_is_an_absent_payload(folder, name):
    assert code(folder, name) == b""


@pytest.mark.parametrize("name", ["none.png", ".", "a\0b", "x" * 5000, "seven.png/deeper"])
def test_a_file_that_cannot_be_read_is_a_status(folder, name):
    assert code(folder, name) == "unreadable_file"


def test_a_pipe_is_refused_without_waiting_for_its_writer(folder):
    os.mkfifo(folder / "pipe")
    assert code(folder, "pipe") == "unreadable_file"


def test_a_circle_of_links_is_a_status(folder):
    (folder / "circle").symlink_to("circle")
    assert code(folder, "circle", confined=True) == "unreadable_file"


def test_an_empty_file_is_a_status_and_not_absent(folder):
    (folder / "empty").touch()
    assert code(folder, "empty") == "empty"


@pytest.mark.parametrize(("limit", "found"), [(6, b"pixels"), (5, "too_large")])
def test_a_file_is_read_up_to_the_limit(folder, limit, found):
    assert code(folder, "seven.png", max_bytes=limit) == found


def test_a_path_out_of_the_folder_is_read_unless_confined(folder):
    assert code(folder, "../secret.png") == b"secret"
    assert code(folder, "../secret.png", confined=True) == "outside_root"


def test_a_link_out_of_the_folder_is_outside(folder):
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    assert code(folder, "link.png", confined=True) == "outside_root"


def test_a_confined_folder_still_gives_its_own_files(folder):
    assert code(folder, str(folder / "seven.png"), confined=True) == b"pixels"


def test_the_status_names_the_file(folder):
    assert "none.png" in MediaFolder(folder).read("none.png").message
