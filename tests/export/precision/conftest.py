"""The small model's graph."""

import pytest

from tests.export.precision import models


@pytest.fixture(scope="session")
def named():
    """In memory, to be looked at: every node has a name."""
    return models.two_modalities()


@pytest.fixture(scope="session")
def reference(named, tmp_path_factory):
    """In a file."""
    return models.written(named, tmp_path_factory.mktemp("reference") / "model.onnx")
