"""The demo's folder on the path, as the builder puts it, and one small corpus for all tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

DEMO = Path(__file__).parents[2] / "export" / "digits"
sys.path.insert(0, str(DEMO))

from paired_rows import Corpus, corpus_from_seed  # noqa: E402 - found on the path that was just set


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    return corpus_from_seed(0, renderings=2)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
