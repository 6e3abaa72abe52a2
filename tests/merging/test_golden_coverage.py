"""Every golden MM-Lego array is read by a test: each module that reads some declares their names in `COVERS`."""

import ast
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.merging.golden import mm_lego

TESTS = Path(__file__).parents[1]


def declared() -> dict[str, tuple[str, ...]]:
    """File to what it declares, read without importing it."""
    found = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "COVERS":
                found[path.name] = ast.literal_eval(node.value)
    return found


PATTERNS = [pattern for patterns in declared().values() for pattern in patterns]


def unread(patterns: list[str]) -> list[str]:
    return [name for name in mm_lego() if not any(fnmatchcase(name, pattern) for pattern in patterns)]


def test_every_array_is_read_by_a_test() -> None:
    assert unread(PATTERNS) == []


def test_an_array_without_a_test_would_be_noticed() -> None:
    assert "grad.loss" in unread([pattern for pattern in PATTERNS if pattern != "grad.*"])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_declared_name_is_that_of_an_array(pattern: str) -> None:
    assert any(fnmatchcase(name, pattern) for name in mm_lego())
