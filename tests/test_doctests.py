"""The examples in docstrings give what they say."""

import doctest
import importlib
import pkgutil

import pytest

import onepath

INSIDE_TRITON = ("onepath.server.models.preprocess",)
"""Modules that import what exists in Triton's own Python processes only."""

MODULES = [
    module.name for module in pkgutil.walk_packages(onepath.__path__, "onepath.") if module.name not in INSIDE_TRITON
]


def results(name: str) -> doctest.TestResults:
    return doctest.testmod(importlib.import_module(name))


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(name):
    assert results(name).failed == 0


def test_there_are_examples():
    assert sum(results(name).attempted for name in MODULES) >= 10
