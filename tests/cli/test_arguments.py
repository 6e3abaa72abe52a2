from pathlib import Path

import pytest
import typer

from onepath.cli.arguments import modalities_from_arguments, pairs_from_arguments, value_from_text
from onepath.cli.exits import hoisted
from onepath.cli.tables import size_text


def test_options_of_any_name_are_modalities():
    assert modalities_from_arguments(["--image", "a.png", "--text=b=c"]) == {"image": "a.png", "text": "b=c"}


def test_a_value_may_look_like_an_option():
    assert modalities_from_arguments(["--text", "--what"]) == {"text": "--what"}


@pytest.mark.parametrize("arguments", [["a.png"], ["--image"], ["--image", "a", "--image", "b"], ["--"], ["-i", "a"]])
def test_what_is_no_option_with_a_value_is_refused(arguments):
    with pytest.raises(typer.BadParameter):
        modalities_from_arguments(arguments)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("a.png", "image", Path("a.png")),
        ("@a.png", "image", Path("@a.png")),
        ("a.bin", "thermal", Path("a.bin")),
        ("sieben", "text", b"sieben"),
        ("größer", "text", "größer".encode()),
        ("@letter.txt", "text", Path("letter.txt")),
        ("@@home", "text", b"@home"),
        ('{"age": 41}', "tabular", b'{"age": 41}'),
    ],
)
def test_a_value_is_what_its_kind_makes_of_it(text, kind, value):
    assert value_from_text(text, kind) == value


def test_pairs_are_split_at_the_first_equals_sign():
    assert pairs_from_arguments(["image=a=b"], "--column") == {"image": "a=b"}


@pytest.mark.parametrize("arguments", [["image"], ["=photo"], ["image="], ["image=a", "image=b"]])
def test_what_is_no_pair_is_refused(arguments):
    with pytest.raises(typer.BadParameter, match="--column"):
        pairs_from_arguments(arguments, "--column")


def test_global_options_are_moved_to_the_front_as_far_as_two_dashes():
    assert hoisted(["a", "-v", "b", "--debug", "--", "-v"]) == ["-v", "--debug", "a", "b", "--", "-v"]


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_234_567, "1.2 MB")])
def test_sizes_are_decimal(size, text):
    assert size_text(size) == text
