"""Names of a bundle's files: those that mean one file, inside the folder, on every file system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

PICKLED_SUFFIXES = frozenset((".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".dill", ".joblib", ".npy"))
"""Files that the usual loaders would, or may, unpickle: loading them can run code."""

_ORT_FORMAT = ".ort"
_MOST_CHARACTERS, _MOST_BYTES_OF_A_PART = 1000, 255
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(\..*)?", re.IGNORECASE)
"""What Windows takes for a device, in any folder and with any suffix."""


def name_problem(name: str) -> str | None:
    r"""Return why a relative path may not name a file of a folder, or None.

    >>> name_problem("graphs/model.onnx"), name_problem("../secret"), name_problem("C:\\model")
    (None, 'points outside the folder', 'has a backslash or a colon in its name')
    """
    if len(name) > _MOST_CHARACTERS:
        return f"has a name of more than {_MOST_CHARACTERS} characters"
    parts = name.split("/")
    if name.startswith("/") or ".." in parts:
        return "points outside the folder"
    if "\\" in name or ":" in name:
        return "has a backslash or a colon in its name"
    if not name.isprintable() or unicodedata.normalize("NFC", name) != name:
        return "has a name that is not printable, or not normalised (NFC)"
    return next(filter(None, map(_part_problem, parts)), None)


def _part_problem(part: str) -> str | None:
    if part in ("", ".") or part[-1] in " .":
        return "has a name with an empty part, or with a part that ends in a dot or a space"
    if len(part.encode()) > _MOST_BYTES_OF_A_PART:
        return f"has a name with a part of more than {_MOST_BYTES_OF_A_PART} bytes"
    if _DEVICE.fullmatch(part):
        return "has the name of a device of Windows"
    return None


def content_problem(name: str) -> str | None:
    """Return why a file of this name may not be in a bundle, whatever it holds, or None.

    >>> content_problem("weights/model.safetensors"), content_problem("weights/model.PT")
    (None, 'is of a kind that can hold a pickle, which runs code where it is loaded')
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in PICKLED_SUFFIXES:
        return "is of a kind that can hold a pickle, which runs code where it is loaded"
    if suffix == _ORT_FORMAT:
        return "is a graph in ONNX Runtime's own format, which nothing here can check"
    return None


def colliding_names(names: Iterable[str]) -> tuple[str, str] | None:
    """Return two names of files or folders that are one where upper and lower case are the same, or None.

    >>> colliding_names(["graphs/a.onnx", "Graphs/b.onnx"])
    ('graphs', 'Graphs')
    """
    known: dict[str, str] = {}
    for name in names:
        path = PurePosixPath(name)
        for part in (path, *path.parents):
            other = known.setdefault(str(part).casefold(), str(part))
            if other != str(part):
                return other, str(part)
    return None
