"""Every golden array is read by a test: each module that reads some declares their names in `COVERS…`."""

import ast
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.export.collapse.clip_tower import multimeditron
from tests.merging.adapters.golden import semi
from tests.merging.golden import FOLDER, m2pt, mm_lego

TESTS = Path(__file__).parents[1]
FILES: dict[str, Callable[[], dict[str, np.ndarray]]] = {
    "COVERS": mm_lego,
    "COVERS_M2PT": m2pt,
    "COVERS_SEMI": semi,
    "COVERS_MULTIMEDITRON": multimeditron,
}
"""What a module declares, to the arrays of the file that its names are of."""


@cache
def declared(variable: str) -> tuple[str, ...]:
    """What every module declares under a name, read without importing it."""
    found: list[str] = []
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == variable:
                found += _names(node.value)
    return tuple(found)


def _names(node: ast.expr) -> list[str]:
    """The strings of a tuple, of which parts may be tuples with a star."""
    assert isinstance(node, ast.Tuple)
    parts = [_names(part.value) if isinstance(part, ast.Starred) else [ast.literal_eval(part)] for part in node.elts]
    return [name for part in parts for name in part]


def unread(variable: str, patterns: tuple[str, ...]) -> list[str]:
    return [name for name in FILES[variable]() if not any(fnmatchcase(name, pattern) for pattern in patterns)]


def test_every_file_of_arrays_is_looked_at() -> None:
    names = {f"{read.__name__}.npz" for read in FILES.values()}
    assert {path.name for path in FOLDER.glob("*.npz")} == names


@pytest.mark.parametrize("variable", FILES)
def test_every_array_is_read_by_a_test(variable: str) -> None:
    assert unread(variable, declared(variable)) == []


@pytest.mark.parametrize(
    ("variable", "pattern", "name"),
    [
        ("COVERS", "grad.*", "grad.loss"),
        ("COVERS_M2PT", "linear/kg_merged_W", "linear/kg_merged_W"),
        ("COVERS_SEMI", "lora_out", "lora_out"),
        ("COVERS_MULTIMEDITRON", "pixels", "pixels"),
    ],
)
def test_an_array_without_a_test_would_be_noticed(variable: str, pattern: str, name: str) -> None:
    others = tuple(each for each in declared(variable) if each != pattern)
    assert name in unread(variable, others)


@pytest.mark.parametrize(
    ("variable", "pattern"), [(variable, pattern) for variable in FILES for pattern in declared(variable)]
)
def test_every_declared_name_is_that_of_an_array(variable: str, pattern: str) -> None:
    assert any(fnmatchcase(name, pattern) for name in FILES[variable]())
